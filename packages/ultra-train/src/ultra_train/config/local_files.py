"""Checks that the data and models that a preset names are on this machine.

The rules of a preset do not depend on the machine, so that it can be read, shown and compared anywhere.
``validate`` and ``run`` also check the files: a mistyped folder must not end in a run on other texts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path as FilePath

from ultra_core.config import KeyPath
from ultra_train.config.data import EMBEDDED, DataKeys, Dataset, DatasetSource, as_sources
from ultra_train.config.encoder_keys import EncoderKeys
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import Faults, answers
from ultra_train.config.training import TrainingConfig
from ultra_train.data.errors import DataError
from ultra_train.data.sources.embedded import is_embedded, language_of
from ultra_train.data.sources.files import find_files, may_be_on_hub, suggestion
from ultra_train.data.sources.readers import SUFFIXES
from ultra_train.data.sources.rows import ROW_SUFFIXES
from ultra_train.hf.hub import HubName
from ultra_train.system.files import expand_user

_EMBEDDED = "ultra:"  # prefix of the embedded data sets, which ``rules`` checks
_NAMED = 5  # maximum number of sources that are named in a line or compared with similar names


def missing(keys: EncoderKeys) -> list[tuple[KeyPath, str]]:
    """Return (key path, message) of all data and models that are not on this machine or cannot be read.

    Names of the hub are not looked up: ``hub_notices`` lists them.
    """
    found: list[tuple[KeyPath, str]] = []
    task, preset = keys.task, keys.preset
    if task is None or task.reads_dataset:
        found += missing_texts(preset.training)
    if task is not None and task.name in keys.options:
        found += answers(task, "missing", keys.options[task.name])
    return [*found, *missing_models(preset)]


def missing_texts(training: TrainingConfig) -> Faults:
    """Yield (key path, message) of texts that do not exist or cannot be read."""
    yield from _local_folder(training)
    if not reads_local_folder(training):
        yield from _dataset(("training", "dataset"), training.dataset)


def missing_models(preset: PresetFile) -> Faults:
    """Yield (key path, message) of a missing base model, tokenizer, or texts of a tokenizer."""
    if preset.base_model is not None:
        yield from missing_model(("base_model",), preset.base_model)
    tokenizer = preset.tokenizer
    if tokenizer is None:
        return
    if tokenizer.train is not None:
        yield from _dataset(("tokenizer", "train", "data"), tokenizer.train.data)
    elif tokenizer.name_or_path is not None:
        yield from missing_model(("tokenizer", "name_or_path"), tokenizer.name_or_path)


def missing_notices(found: Iterable[tuple[KeyPath, str]]) -> Iterator[str]:
    """Yield notices about missing data and models, the first few by name."""
    messages = [message for _, message in found]
    for message in messages[:_NAMED]:
        yield f"not usable on this machine: {message}"
    if len(messages) > _NAMED:
        yield f"not usable on this machine: {len(messages) - _NAMED:,} more"


def hub_notices(keys: EncoderKeys) -> Iterator[str]:
    """Yield notices about texts from the hub, and about the embedded texts if no others are named."""
    training = keys.preset.training
    local = training.local_parquet_dir
    reads = keys.task is not None and keys.task.reads_dataset
    if reads and training.dataset is None and not (local is not None and training.prefer_local_cache):
        yield f"training.dataset is not set; the run trains on the small embedded data set {EMBEDDED}"
    if reads_local_folder(training):
        return
    names = [source.source for source in as_sources(training.dataset) if _only_on_the_hub(source.source)]
    if not names:
        return
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    yield (
        f"training.dataset: {', '.join(names[:_NAMED])}{more}: no file or folder here, so it is taken for a "
        f"data set of the Hugging Face hub, which is looked up when the run begins.{suggestion(names[0])}"
    )
    if local is not None and training.prefer_local_cache:
        yield f"training.local_parquet_dir: there is no folder {local} here; {names[0]} is read instead"


def hub_names(preset: PresetFile) -> Iterator[HubName]:
    """Yield the models and data sets that a run takes from the hub, with the keys that name them."""
    tokenizer = preset.tokenizer
    if preset.base_model is not None and _only_on_the_hub(preset.base_model):
        yield HubName("base_model", preset.base_model, "model")
    named = tokenizer.name_or_path if tokenizer is not None and tokenizer.train is None else None
    if named is not None and _only_on_the_hub(named):
        yield HubName("tokenizer.name_or_path", named, "model")
    for source in sources_of(preset.training):
        if _only_on_the_hub(source.source):
            yield HubName("training.dataset", source.source, "dataset")


def reads_local_folder(training: DataKeys) -> bool:
    """Whether the texts come from ``local_parquet_dir``, not from ``dataset``."""
    local = training.local_parquet_dir
    return local is not None and training.prefer_local_cache and expand_user(local).is_dir()


def sources_of(training: DataKeys) -> tuple[DatasetSource, ...]:
    """Return where the texts of a run come from."""
    if reads_local_folder(training):
        assert training.local_parquet_dir is not None
        return (DatasetSource(source=training.local_parquet_dir),)
    return as_sources(training.dataset)


def _local_folder(training: DataKeys) -> Faults:
    """Yield a fault when ``local_parquet_dir`` is missing and no data set of the hub replaces it."""
    local, path = training.local_parquet_dir, ("training", "local_parquet_dir")
    if local is None or not training.prefer_local_cache:
        return
    if reads_local_folder(training):
        yield from unreadable_texts(path, local)
    elif expand_user(local).exists():
        yield path, f"{local} is a file, but a folder is needed; training.dataset takes files too"
    else:
        sources = [source.source for source in as_sources(training.dataset)] or [EMBEDDED]
        if not any(map(_only_on_the_hub, sources)):
            others = f" and {len(sources) - 1:,} more" if len(sources) > 1 else ""
            yield (
                path,
                f"there is no folder {local}, and {sources[0]}{others} would be trained on instead; correct "
                f"it, or set prefer_local_cache: false if that is what you want.{suggestion(local)}",
            )


def _dataset(path: KeyPath, dataset: Dataset | None) -> Faults:
    """Yield the faults of the sources of a ``dataset`` key, each with its path."""
    items = dataset if isinstance(dataset, tuple) else (dataset,)
    found = 0
    for index, item in enumerate(items):
        place = (*path, index) if isinstance(dataset, tuple) else path
        if isinstance(item, DatasetSource):
            place, item = (*place, "source"), item.source
        if item is not None:
            for fault in unreadable_texts(place, item, suggest=found < _NAMED):
                found += 1
                yield fault


def unreadable_texts(
    path: KeyPath, name: str, *, suggest: bool = True, suffixes: Sequence[str] = SUFFIXES
) -> Faults:
    """Yield a fault for local texts that do not exist or cannot be read."""
    if name.strip() and not name.startswith(_EMBEDDED):
        try:
            find_files(name, suggest=suggest, suffixes=suffixes)
        except DataError as error:
            yield path, str(error)


def unreadable_pairs(path: KeyPath, name: str) -> Faults:
    """Yield a fault for rows of several texts, local or embedded, that do not exist or cannot be read."""
    yield from unreadable_texts(path, name, suffixes=ROW_SUFFIXES)
    if is_embedded(name):
        try:
            language_of(name)
        except DataError as error:
            yield path, str(error)


def _only_on_the_hub(name: str) -> bool:
    if not name.strip() or name.startswith(_EMBEDDED) or any(sign in name for sign in "*?["):
        return False
    return may_be_on_hub(name) and not os.path.exists(name)


def missing_model(path: KeyPath, name: str) -> Faults:
    """Yield a fault for a local model or tokenizer that does not exist."""
    if not may_be_on_hub(name) and not expand_user(name).exists():
        yield path, f"there is no file or folder {name} (looked in {FilePath.cwd()}).{suggestion(name)}"
