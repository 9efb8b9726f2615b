"""The precision in which a finished model is saved (``training.save_dtype``)."""

from __future__ import annotations

from pathlib import Path

import torch

from ultra_train.config.training import TrainingConfig
from ultra_train.hf.precision import DTYPE_NAMES, convert_saved
from ultra_train.tasks.base import Say


def convert_to_save_dtype(
    folder: Path, training: TrainingConfig, say: Say, *, base: torch.dtype | None = None
) -> None:
    """Convert the saved weights to ``save_dtype``, or else to the precision of the base model's files.

    Args:
        folder: the folder of the saved model.
        training: the keys of the run.
        say: prints the precision, if it is another one than that of the checkpoints.
        base: the precision of the files of the base model; None for a new model.
    """
    of_base = None if base is None else DTYPE_NAMES.get(base)
    held = training.weights_dtype
    wanted = training.save_dtype or of_base or held
    if wanted == held:
        return
    if (name := convert_saved(folder, wanted)) is not None:
        say(f"notice: the model is saved in {held}, since {name} is too large for {wanted}")
    else:
        say(f"The model is saved in {wanted} (training.save_dtype); its checkpoints are in {held}.")
