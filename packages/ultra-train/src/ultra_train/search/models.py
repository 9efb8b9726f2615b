"""Finding and loading encoders of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultra_train.search.errors import SearchError
from ultra_train.system import files
from ultra_train.system.run_files import MODEL

CONFIG = "config_sentence_transformers.json"

KINDS = {"SentenceTransformer": "dense", "SparseEncoder": "sparse", "CrossEncoder": "cross-encoder"}


def locate(model: str) -> Path:
    """Return the folder of a model: the folder itself, or that of the model of a run.

    Raises:
        SearchError: there is no such model.
    """
    folder = files.expand_user(model)
    for place in (folder, folder / MODEL, Path("runs") / model / MODEL):
        if (place / "modules.json").is_file():
            return place
    raise SearchError(f"{model}: there is no encoder of sentence-transformers (no modules.json)")


def kind_of(folder: Path) -> str:
    """Return ``dense``, ``sparse`` or ``cross-encoder``."""
    return KINDS.get(files.read_json(folder / CONFIG).get("model_type", "SentenceTransformer"), "dense")


def load_encoder(model: str, *, device: str | None = None, trust_remote_code: bool = False) -> Any:
    """Load a dense or a sparse encoder."""
    import sentence_transformers

    import ultra_blocks.hf  # noqa: F401  registers our classes
    from ultra_train.hf.verbosity import transformers_errors_only

    name = "SparseEncoder" if kind_of(Path(model)) == "sparse" else "SentenceTransformer"
    with transformers_errors_only():
        return getattr(sentence_transformers, name)(model, device=device, trust_remote_code=trust_remote_code)
