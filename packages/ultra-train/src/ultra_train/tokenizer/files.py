"""The files of a trained tokenizer; another tokenizer is never overwritten."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ultra_train.tokenizer.sentencepiece_model import TokenizerError, was_fitted_here

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL_FILE = "sentencepiece.model"
_LAST = "tokenizer.json"
FILES = (MODEL_FILE, "tokenizer_config.json", "special_tokens_map.json", _LAST)
"""Names of the files of a trained tokenizer."""

UNFINISHED = ".unfinished-"


def save(tokenizer: PreTrainedTokenizerBase, model: bytes, output_dir: Path) -> None:
    """Write a tokenizer so that a full disk or a kill leaves no incomplete one."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=output_dir) as folder:
        partial = Path(folder)
        (partial / MODEL_FILE).write_bytes(model)
        tokenizer.save_pretrained(partial)
        # The model comes first, which marks the folder as ours, and last the file that makes it a tokenizer.
        others = sorted({path.name for path in partial.iterdir()} - {MODEL_FILE, _LAST})
        for name in [MODEL_FILE, *others, _LAST]:
            os.replace(partial / name, output_dir / name)


def may_be_trained_into(folder: Path) -> bool:
    """Return whether a folder is missing, empty, or holds only files of a killed ``train_tokenizer``."""
    if not folder.is_dir():
        return not os.path.lexists(folder)
    names = {path.name for path in folder.iterdir() if not path.name.startswith(UNFINISHED)}
    return not names or (names <= {*FILES} - {_LAST} and _is_ours(folder / MODEL_FILE))


def refuse_to_overwrite(files: Iterable[Path]) -> None:
    """Refuse to overwrite a tokenizer that ultra did not train.

    Args:
        files: the files that would be written; the first is the SentencePiece model.

    Raises:
        TokenizerError: one of the files exists, and the model is not one that ultra trained.
    """
    model, *others = files
    there = [path for path in (model, *others) if os.path.lexists(path)]
    if there and not _is_ours(model):
        raise TokenizerError(
            f"{there[0]} is there already and is not of a tokenizer that was trained here; nothing is "
            "overwritten. Give another place to write to, or move it away."
        )


def _is_ours(model: Path) -> bool:
    """Return whether a file is a SentencePiece model with the settings of ``fit``."""
    try:
        return was_fitted_here(model.read_bytes())
    except (OSError, TokenizerError):
        return False
