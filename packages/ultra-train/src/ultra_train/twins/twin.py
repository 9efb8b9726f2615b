"""The twin of a preset: the same architecture, optimizer and schedule at a size that trains in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from ultra_core.config import from_tree, unstructure
from ultra_train.config import Preset, from_source, to_tree
from ultra_train.config.declared_tasks import declared_tasks
from ultra_train.data.es_commands import sentences
from ultra_train.hf.known_models import base_config
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.twins import encoder
from ultra_train.twins.base_model import write_base_model
from ultra_train.twins.optimizer import shortened
from ultra_train.twins.sparse import shrunken_tree
from ultra_train.twins.tokenizer import train_family_tokenizer
from ultra_train.twins.written import written

UPDATES = 4
PIECES = 352
"""Pieces of the tokenizer of an encoder, special tokens and bytes included."""

TRAINING: dict[str, Any] = {
    "dataset": "ultra:es-commands",
    "local_parquet_dir": None,
    "max_length": 32,
    "num_workers": 0,
    "dataloader_workers": 0,
    "num_epochs": None,
    "eval_fraction": 0.01,
    "max_steps": UPDATES,
    "scheduler_total_steps": UPDATES,
    "checkpoint_every_n_steps": UPDATES // 2,
    "eval_every_n_steps": UPDATES,
    "hf_output_dir": None,
    "csv_log_path": None,
    "storage_budget_gb": None,
    "push_to_hub": False,
    "hub_model_id": None,
    "report_to": [],
}
"""The keys of ``training`` that a twin does not take from its preset."""

ROWS, WINDOW = 4, 2
"""Greatest batch size and number of micro-batches in an update."""


def twin(preset: Any, folder: Path, *, cache_dir: Path | None = None) -> Any:
    """Return the twin of a preset, whose base model and tokenizer are written into a folder.

    The twin trains ``UPDATES`` updates on the embedded data set ``ultra:es-commands``, or on data sets made
    of it with the columns of those of the preset. Twins with the same folder share tokenizers and
    the cache of the data; what the folder already holds is used again.

    Args:
        preset: a loaded preset of any form; its base model need not be on this machine if it is a known one.
        folder: where base models and tokenizers are written to; it is created.
        cache_dir: folder of the tokenised data; ``cache`` in the folder by default.

    Raises:
        UltraError: the config of the base model is unknown, or the embedded data is not installed.
    """
    cache = cache_dir or folder / "cache"
    tree = _tree(preset, folder, cache)
    small: Preset = from_source(from_tree(tree, file=f"the twin of {preset.name}"), preset.name)
    return attrs.evolve(small, notices=())  # they are about keys that nobody wrote


def _tree(preset: Any, folder: Path, cache: Path) -> dict[str, Any]:
    """Return the canonical form of the twin."""
    tree = to_tree(preset)
    if not isinstance(preset, Preset):
        return shrunken_tree(tree, [s.text for s in sentences("es", cache_dir=cache)], folder, cache)
    if preset.base_model is not None:
        tree["base_model"], tokenizer = _base_model(preset.base_model, folder, cache)
        if preset.tokenizer is not None:
            tree["tokenizer"] = {"name_or_path": tokenizer}
    if preset.model is not None:
        tree["model"] = _without_shorthands(encoder.shrunken(preset.model, PIECES))
        tree["tokenizer"] = {"train": {"vocab_size": PIECES, "model_type": _algorithm(preset)}}
    tree["training"] |= {key: value for key, value in TRAINING.items() if key in tree["training"]}
    tree["training"] |= _own_settings(preset, cache)
    task = declared_tasks().find(preset.training.task)
    if task is not None and task.section is not None and task.twin_options:
        tree["training"][task.section] |= task.twin_options
    return tree


def _own_settings(preset: Preset, cache: Path) -> dict[str, Any]:
    training = preset.training
    settings: dict[str, Any] = {
        "cache_dir": str(cache),
        "batch_size": min(training.batch_size, ROWS),
        "gradient_accumulation_steps": min(training.gradient_accumulation_steps, WINDOW),
    }
    if training.optimizer is not None:
        settings["optimizer"] = unstructure(shortened(training.optimizer))
    return settings


def _without_shorthands(model: Any) -> dict[str, Any]:
    """Return a canonical model section as plain data, without the shorthands that are not set."""
    tree = {field.name: unstructure(getattr(model, field.name)) for field in attrs.fields(type(model))}
    return {key: value for key, value in tree.items() if value is not None}


def _algorithm(preset: Preset) -> str:
    train = preset.tokenizer.train if preset.tokenizer is not None else None
    return train.model_type if train is not None else "unigram"


def _base_model(name: str, folder: Path, cache: Path) -> tuple[str, str]:
    """Return the folders of a tiny base model and of its tokenizer, written unless they are there."""
    family = base_config(name).model_type

    def train(place: Path) -> None:
        train_family_tokenizer(family, [s.text for s in sentences("es", cache_dir=cache)], place)

    tokenizer = written(folder / f"tokenizer-{family}", train)

    def write(place: Path) -> None:
        own = load_tokenizer(tokenizer)
        write_base_model(name, own, place)
        own.save_pretrained(place)

    model = written(folder / name.strip("/").replace("/", "--"), write)
    return str(model), str(tokenizer)
