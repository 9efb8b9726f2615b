"""The files of a trained tokenizer: written whole, and never over those of another one."""

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
"""What a folder with a trained tokenizer may hold of it."""

UNFINISHED = ".unfinished-"


def save(tokenizer: PreTrainedTokenizerBase, model: bytes, output_dir: Path) -> None:
    """Write everything beside its place first, so that a full disk or a kill leaves no half a tokenizer."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=output_dir) as folder:
        partial = Path(folder)
        (partial / MODEL_FILE).write_bytes(model)
        tokenizer.save_pretrained(partial)
        # The model comes first, which says whose the folder is; last what makes the folder a tokenizer.
        others = sorted({path.name for path in partial.iterdir()} - {MODEL_FILE, _LAST})
        for name in [MODEL_FILE, *others, _LAST]:
            os.replace(partial / name, output_dir / name)


def may_be_trained_into(folder: Path) -> bool:
    """Whether a folder is not there, is empty, or holds only what a killed `train_tokenizer` left."""
    if not folder.is_dir():
        return not os.path.lexists(folder)
    names = {path.name for path in folder.iterdir() if not path.name.startswith(UNFINISHED)}
    return not names or (names <= {*FILES} - {_LAST} and _is_ours(folder / MODEL_FILE))


def refuse_to_overwrite(files: Iterable[Path]) -> None:
    """Raise an error when one of some files is there, unless the first, a model, was trained here."""
    model, *others = files
    there = [path for path in (model, *others) if os.path.lexists(path)]
    if there and not _is_ours(model):
        raise TokenizerError(
            f"{there[0]} is there already and is not of a tokenizer that was trained here; nothing is "
            "overwritten. Give another place to write to, or move it away."
        )


def _is_ours(model: Path) -> bool:
    """Whether a file is a SentencePiece model as `fit` makes them."""
    try:
        return was_fitted_here(model.read_bytes())
    except (OSError, TokenizerError):
        return False
