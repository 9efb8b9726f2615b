"""The files of a checkpoint that are its model: what transformers loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

OF_TRAINING = frozenset(
    {
        "loss_weights",
        "manifest",
        "optimizer",
        "progress",
        "random",
        "scaler",
        "schedule",
        "trainer_state",
        "training_weights",
    }
)
"""Names, without suffix, of the files that only a resumed run reads."""


def model_files(checkpoint: Path) -> Iterator[Path]:
    """Yield the config, the weights for evaluation, the code and the tokenizer in a checkpoint.

    The modules of a sentence-transformers model have folders of their own in it.
    """
    for path in sorted(checkpoint.rglob("*")):
        inside = path.parent != checkpoint
        if path.is_file() and (inside or (path.stem not in OF_TRAINING and path.suffix != ".yaml")):
            yield path
