"""What an optimizer's constructor refuses, found by building it over the model on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from ultra_blocks.config import UltraConfig
from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_train.config.optimizer import OptimizerConfig
from ultra_train.config.optimizer_rules import chosen, own_words
from ultra_train.config.rules import layer_names

if TYPE_CHECKING:
    from ultra_train.config.preset import PresetFile

Path = tuple[str | int, ...]

ANY = UltraConfig(vocab_size=8, hidden_size=8, num_layers=1, num_heads=2, use_moe=False, ffn_hidden_size=8)
"""What stands for a base model, which is not looked at."""


def refusals(preset: PresetFile) -> Iterator[tuple[Path, str]]:
    """Yield why the optimizer cannot be built with options that are right one by one.

    Args:
        preset: without other faults.
    """
    training = preset.training
    optimizer = chosen(training, layer_names(preset))
    if optimizer is not None:
        path: Path = ("training",) if training.optimizer is None else ("training", "optimizer", "parameters")
        yield from _refused(preset, optimizer, path)
    sbert = training.sbert
    if sbert is not None and sbert.optimizer is not None:
        section = own_words(sbert.optimizer, (), bare=True)
        yield from _refused(preset, section, ("training", "sbert", "optimizer", "parameters"))


def _refused(preset: PresetFile, optimizer: OptimizerConfig, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield why an optimizer by its own names cannot be built over the model of a preset."""
    from ultra_blocks.encoder.sample import sample_encoder  # imports torch
    from ultra_train.trainer.plugins import optimizer_builder

    build = optimizer_builder(attrs.evolve(preset.training, optimizer=optimizer))
    try:
        build([sample_encoder(preset.model or ANY)])
    except UltraError as error:
        yield path, str(error)
    except Exception as error:
        entry = optimizers.entry(optimizer.optimizer_class)
        yield (
            path,
            f"the optimizer {entry.name!r} of {entry.distribution} {entry.version} cannot be built: "
            f"{type(error).__name__}: {error}",
        )
