"""The texts and the tokenizer of a run, for all tasks on plain text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
from transformers import PreTrainedTokenizerBase

from ultra_core.errors import UltraError, key_of
from ultra_train.config.data import Dataset, TextKeys, as_sources
from ultra_train.config.local_files import hub_names, missing_models, missing_texts, sources_of
from ultra_train.config.preset import Preset
from ultra_train.config.sections import TokenizerConfig, TokenizerTraining
from ultra_train.data.sources.data_source import DataSource, read_sources
from ultra_train.data.sources.texts import TextReader, identity
from ultra_train.data.streaming.extent import can_be_streamed
from ultra_train.hf.hub import require_hub
from ultra_train.system.files import expand_user
from ultra_train.system.processes import processes
from ultra_train.tasks.base import Say, TaskRun
from ultra_train.tasks.tokenizer_cache import provide
from ultra_train.tokenizer.files import may_be_trained_into
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.training import train_tokenizer


def check_all_is_here(preset: Preset, say: Say = print) -> None:
    """Refuse a preset whose texts or models are neither here nor on the hub, before any of them is used.

    Args:
        preset: the preset of the run.
        say: prints that the hub cannot be reached when its cache has everything.

    Raises:
        UltraError: names the first that is missing here, or all that the hub does not give.
    """
    for path, message in chain(missing_texts(preset.training), missing_models(preset)):
        raise UltraError(f"{key_of(path)}: {message}")
    wanted = list(hub_names(preset))
    if wanted and (notice := require_hub(wanted)) is not None:
        say(f"notice: {notice}")


def texts_of_run(run: TaskRun[TextKeys]) -> Iterator[str]:
    """Yield the texts of a run, one after the other.

    Raises:
        DataError: a row cannot be used, unless ``on_bad_rows`` says to skip such rows.
    """
    training, options = run.preset.training, run.options
    reader = TextReader(cache_dir=training.cache_dir, notify=run.say)
    return reader.texts(text_sources(run.preset), options.on_bad_rows)


def text_sources(preset: Preset) -> list[DataSource]:
    """Return where the texts of a run come from."""
    return _read(sources_of(preset.training))


def _read(dataset: Dataset | None) -> list[DataSource]:
    return read_sources([attrs.asdict(source) for source in as_sources(dataset)])


def tokenizer_of_run(run: TaskRun[TextKeys]) -> PreTrainedTokenizerBase:
    """Return the tokenizer that a preset names, or one trained on the texts of the run.

    A trained tokenizer is cached in ``cache_dir`` for other runs on the same texts, and copied into the run.

    Raises:
        UltraError: the preset names no tokenizer, and none can be trained.
    """
    preset, options = run.preset, run.options
    config = preset.tokenizer or TokenizerConfig()
    path = config.name_or_path
    if path is not None and path.startswith("~"):
        path = os.path.expanduser(path)
    if path is not None and (config.train is None or not may_be_trained_into(Path(path))):
        return load_tokenizer(path, use_fast=config.use_fast, trust_remote_code=config.trust_remote_code)
    if preset.model is None:
        raise UltraError("a preset with base_model needs tokenizer.name_or_path")
    wanted = config.train or TokenizerTraining(vocab_size=preset.model.vocab_size)
    sources = text_sources(preset) if wanted.data is None else _read(wanted.data)
    settings: dict[str, Any] = {
        "vocab_size": wanted.vocab_size,
        "model_type": wanted.model_type,
        "max_length": options.max_length,
        "lowercase": wanted.lowercase,
        "character_coverage": wanted.character_coverage,
        "max_texts": wanted.max_texts,
    }
    cache_dir = preset.training.cache_dir
    streamed = preset.training.stream_local_parquet and all(map(can_be_streamed, sources))

    def train(folder: Path) -> object:
        where = "" if path is None else f" into {path}"
        run.say(f"tokenizer: training {wanted.vocab_size:,} {wanted.model_type} pieces{where}")
        reader = TextReader(cache_dir=cache_dir, streamed=streamed, notify=run.say)
        return train_tokenizer(reader.texts(sources, options.on_bad_rows), output_dir=folder, **settings)

    if path is not None:
        if processes().main:
            train(Path(path))
        processes().wait()
        return load_tokenizer(path)
    with processes().main_first():
        folder = provide(
            run.folder,
            cache=expand_user(cache_dir),
            about={"format": 1, "sources": [identity(s, streamed=streamed) for s in sources], **settings},
            train=train,
            say=run.say,
        )
    return load_tokenizer(folder)
