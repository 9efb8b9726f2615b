"""Loading encoders of sentence-transformers as what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.kinds import Kind, kind_of, locate
from ultra_train.hf.errors import describe_error
from ultra_train.hf.hub import HubName, require_hub
from ultra_train.system.run_files import RUNS

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer, SparseEncoder

    Encoder = SentenceTransformer | SparseEncoder


def load_encoder(
    where: str | Path,
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
    max_length: int | None = None,
    dtype: torch.dtype | None = None,
    untrained: bool = False,
    runs: str | Path = RUNS,
    key: str = "",
) -> Encoder:
    """Load a dense or a sparse encoder as what it is.

    SPLADE pools in chunks where that is exact, see :mod:`ultra_train.embeddings.splade`.

    Args:
        where: folder of a model or of a run, name of a run, or hub id.
        device: device; None: the best one of this machine.
        trust_remote_code: run code that comes with the model.
        max_length: tokens to which texts are cut; None: as the model was saved.
        dtype: precision of the weights; None: that of the files.
        untrained: load a masked language model or an encoder without pooling as a dense encoder, which
            takes the mean of token states that nobody trained for that.
        runs: folder of runs.
        key: key of the preset that names the model, for error messages.

    Raises:
        EncoderError: there is no model, it is no encoder of single texts, or it cannot be loaded.
        UltraError: the hub cannot be reached, and this machine has no copy.
    """
    name, kind = find(where, runs=runs, key=key)
    if kind in ("masked-lm", "other") and not untrained:
        raise EncoderError(_untrained(str(where), kind))
    if kind in ("cross-encoder", "multi-vector"):
        what = "scores pairs of texts" if kind == "cross-encoder" else "gives a vector for every token"
        raise EncoderError(f"{where} is a {kind}: it {what}, and gives no vector of a text")
    import sentence_transformers

    from ultra_train.embeddings.unpadding import unpad_inputs

    cls = (
        sentence_transformers.SparseEncoder if kind == "sparse" else sentence_transformers.SentenceTransformer
    )
    with loading(where):
        encoder: Any = cls(name, device=device, trust_remote_code=trust_remote_code)
    unpad_inputs(encoder)
    if dtype is not None:
        encoder.to(dtype)
    if max_length is not None:
        network = encoder.transformers_model
        encoder.max_seq_length = checked_length(network, max_length, where, encoder.max_seq_length)
    if kind == "sparse":
        from ultra_train.embeddings.splade.chunked import pool_in_chunks
        from ultra_train.embeddings.splade.modules import set_dimensions
        from ultra_train.embeddings.splade.raw_logits import restore_raw_logits

        set_dimensions(encoder)
        restore_raw_logits(encoder)
        pool_in_chunks(encoder)
    return encoder


def find(where: str | Path, *, runs: str | Path = RUNS, key: str = "") -> tuple[str, Kind]:
    """Return the folder or hub id of a model, and what it is; the hub is asked once, with a short patience.

    Raises:
        EncoderError: there is no model.
        UltraError: the hub cannot be reached, and this machine has no copy.
    """
    name = locate(where, runs)
    if not Path(name).is_dir():
        require_hub([HubName(key, name, "model")])
    return name, kind_of(name)


@contextmanager
def loading(where: str | Path) -> Iterator[None]:
    """Make one-line errors of what goes wrong in a ``with`` block that loads a model, without progress bars.

    Raises:
        EncoderError: the model cannot be loaded.
    """
    import ultra_blocks.hf  # noqa: F401  registers our classes
    from ultra_train.hf.verbosity import transformers_errors_only

    try:
        with transformers_errors_only():
            yield
    except EncoderError:
        raise
    except Exception as error:  # files, configs and the code of a foreign model fail in every way there is
        raise EncoderError(f"{where} cannot be loaded: {describe_error(error)}") from error


def checked_length(network: Any, wanted: int | None, where: str | Path, saved: int | None) -> int | None:
    """Return the tokens to which texts are cut.

    Args:
        network: the model of transformers.
        wanted: the length that is asked for; None: the saved one, or what the model can read.
        where: the model, for the error message.
        saved: length with which the model was saved.

    Raises:
        EncoderError: the model cannot read so many tokens.
    """
    from ultra_train.hf.sequence_length import max_readable_length

    most = max_readable_length(network)
    if wanted is None:
        known = [length for length in (saved, most) if length is not None]
        return min(known, default=None)
    if most is not None and wanted > most:
        raise EncoderError(f"{where} reads at most {most} tokens, but {wanted} are asked for")
    return wanted


def _untrained(where: str, kind: Kind) -> str:
    what = (
        "is a masked language model" if kind == "masked-lm" else "has no pooling and is no encoder of texts"
    )
    return (
        f"{where} {what}: its vectors are not trained for comparing texts. Train it first, with "
        f"`training.task: sbert` or a sparse preset and base_model: {where}"
    )
