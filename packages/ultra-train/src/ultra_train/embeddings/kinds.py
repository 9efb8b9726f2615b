"""Where an encoder is and what it is, read from its files; importing it imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from ultra_train.data.sources.files import may_be_on_hub, suggestion
from ultra_train.embeddings.errors import EncoderError
from ultra_train.system.files import expand_user
from ultra_train.system.run_files import CONFIG, FACTS, MODEL, RUNS

Kind = Literal["dense", "sparse", "multi-vector", "cross-encoder", "masked-lm", "other"]
"""What a model is: a kind of sentence-transformers, a masked language model, or another of transformers."""

_MODEL_TYPES: dict[str, Kind] = {
    "SentenceTransformer": "dense",
    "SparseEncoder": "sparse",
    "MultiVectorEncoder": "multi-vector",
    "CrossEncoder": "cross-encoder",
}
_HEADS: dict[str, Kind] = {
    "MaskedLM": "masked-lm",
    "PreTraining": "masked-lm",
    "SequenceClassification": "cross-encoder",
}


def locate(where: str | Path, runs: str | Path = RUNS) -> str:
    """Return the folder of a model, or a name of the hub as it is.

    Args:
        where: folder of a model or of a run, name of a run below ``runs``, or hub id.
        runs: folder of runs.

    Raises:
        EncoderError: the run has no finished model, there is no model in the folder, or no such folder.
    """
    name = str(where).strip()
    folders = [folder for folder in (expand_user(name), Path(runs) / name) if name and folder.is_dir()]
    for folder in folders:
        if (folder / "modules.json").is_file() or (folder / "config.json").is_file():
            return str(folder)
        if (folder / MODEL / "config.json").is_file() or (folder / MODEL / "modules.json").is_file():
            return str(folder / MODEL)
        if (folder / CONFIG).is_file() or (folder / FACTS).is_file():
            raise EncoderError(
                f"the run {folder} has no finished model yet; ultra-train run {folder / CONFIG} "
                "--resume finishes it"
            )
    if folders:
        raise EncoderError(f"{folders[0]} holds no model (neither modules.json nor config.json)")
    if not name or not may_be_on_hub(name):
        raise EncoderError(f"there is no folder {name}.{suggestion(name)}")
    return name


def kind_of(where: str | Path) -> Kind:
    """Return what a model is.

    A masked language model with pooling beside it, as runs of ``mlm`` leave it, is one still: the mean of its
    token states was never trained.

    Args:
        where: folder of a model, or hub id, whose small files are downloaded.
    """
    saved = read_json(where, "config_sentence_transformers.json")
    if saved is not None and saved.get("model_type") in _MODEL_TYPES:
        return _MODEL_TYPES[saved["model_type"]]
    architecture = str(((read_json(where, "config.json") or {}).get("architectures") or [""])[0])
    by_head = next((kind for head, kind in _HEADS.items() if architecture.endswith(f"For{head}")), None)
    if saved is None and by_head is not None:
        return by_head
    return "dense" if read_json(where, "modules.json") is not None else (by_head or "other")


def read_json(where: str | Path, name: str) -> Any:
    """Return the content of a JSON file of a model, None if it has none of this name.

    Args:
        where: folder of a model, or hub id.
        name: name of the file.

    Raises:
        EncoderError: the file is not JSON.
    """
    path = Path(where) / name
    if not Path(where).is_dir():
        found = _from_hub(str(where), name)
        if found is None:
            return None
        path = found
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise EncoderError(
            f"{path} is not valid JSON ({error}); the model was not saved completely"
        ) from error


def _from_hub(repository: str, name: str) -> Path | None:
    """Return the cached copy of a file of the hub, or None if there is no such file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(repository, name))
    except EntryNotFoundError:  # that of the cache, when offline, is one of them
        return None
