"""From the name of a preset or a file to a checked preset: read, structure, check, complete."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path as FilePath
from typing import Any

from ultra_core.config import ConfigError, KeyPath, Source
from ultra_core.errors import UltraError
from ultra_train.config.checking import check
from ultra_train.config.declared_tasks import declared_tasks
from ultra_train.config.encoder_form import EncoderForm
from ultra_train.config.form import PresetForm, Written
from ultra_train.config.forms import other_forms
from ultra_train.config.local_files import missing_notices
from ultra_train.config.preset import Preset
from ultra_train.config.reading import given_keys, name_of, open_preset
from ultra_train.config.structuring import structure


def load_preset(
    name_or_path: str | FilePath, overrides: Iterable[str] = (), *, check_files: bool = False
) -> Preset:
    """Load a preset that one run trains from.

    Args:
        name_or_path: the name of an installed preset, or a YAML file.
        overrides: ``KEY=VALUE`` settings, checked like the file: ``training.batch_size=8``.
        check_files: whether data and models that are not on this machine are faults.

    Raises:
        ConfigError: the preset has faults; the error lists all of them with line and column.
        UnknownNameError: there is neither such a file nor such an installed preset.
    """
    source = open_preset(name_or_path, overrides)
    form = form_of(source)
    preset: Preset = _load(source, form, name_of(name_or_path), check_files)
    if (refusal := form.refusal()) is not None:
        raise ConfigError([source.fault(*refusal)])
    return preset


def load_common(
    name_or_path: str | FilePath,
    overrides: Iterable[str] = (),
    *,
    check_files: bool = False,
    what: str,
) -> Preset:
    """Load a preset of the common form, for a command that reads its sections; see ``load_preset``.

    Args:
        name_or_path: the name of an installed preset, or a YAML file.
        overrides: ``KEY=VALUE`` settings.
        check_files: whether data and models that are not on this machine are faults.
        what: the command, for messages.

    Raises:
        UltraError: the preset has another form, or see ``load_preset``.
    """
    preset: Any = load_preset(name_or_path, overrides, check_files=check_files)
    if not isinstance(preset, Preset):
        raise UltraError(
            f"{what} knows presets with model_class or base_model; {preset.name} has a form of its own, from "
            f"which {preset.task} trains"
        )
    return preset


def load_any(
    name_or_path: str | FilePath, overrides: Iterable[str] = (), *, check_files: bool = False
) -> Any:
    """Load a preset of any form, also a pipeline of several runs; see ``load_preset``."""
    return from_source(open_preset(name_or_path, overrides), name_of(name_or_path), check_files=check_files)


def from_source(
    source: Source, name: str, *, check_files: bool = False, later: Collection[KeyPath] = ()
) -> Any:
    """Check a preset that was read, and complete it.

    Args:
        source: the preset.
        name: its name.
        check_files: whether data and models that are not on this machine are faults.
        later: keys that name what need not be there yet.

    Raises:
        ConfigError: all faults of types and all contradictions between keys.
    """
    return _load(source, form_of(source), name, check_files, later)


def form_of(source: Source) -> PresetForm[Any]:
    """Return the form of a file: that of a task, a registered one, or the common one."""
    known = declared_tasks()
    forms = (form() for form in other_forms(known))
    return next((form for form in forms if form.accepts(source)), EncoderForm(known))


def _load(
    source: Source,
    form: PresetForm[Any],
    name: str,
    check_files: bool,
    later: Collection[KeyPath] = (),
) -> Any:
    """Run the stages after reading: translate, structure, check, complete."""
    translated, renamed = form.translate(source)
    written = Written(translated, tuple(renamed), given_keys(translated.tree))

    structured = structure(translated, form.file_class, form.suggest)

    draft = form.draft(structured.sections, written) if structured.sections is not None else None
    contradictions = draft.faults(check_files=check_files) if draft is not None else ()
    awaited = [one for one in draft.missing() if one[0] in later] if draft is not None and later else []
    check(translated, structured.faults, (one for one in contradictions if one not in awaited))
    assert draft is not None, "a file without readable sections has faults"

    absent = () if check_files else missing_notices(one for one in draft.missing() if one not in awaited)
    return draft.complete(name, absent)
