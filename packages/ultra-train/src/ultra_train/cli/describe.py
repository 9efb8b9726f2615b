"""``ultra-train describe``: options, defaults, ranges, cost and paper of one plugin, which is imported."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import attrs
import click

from ultra_core.errors import UnknownNameError, did_you_mean
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry
from ultra_optim.roles.option_aliases import written
from ultra_train.cli.kinds import split


@click.command()
@click.argument("name")
def describe(name: str) -> None:
    """Show what NAME is, what its options are, and what it costs.

    NAME is the name of a plugin, or kind:name (blocks:retnet), or distribution:name.
    """
    kinds, short = split(name)
    found = [kind for kind in kinds if short in KINDS[kind]]
    if not found:
        every = {n for kind in kinds for n in KINDS[kind].names()}
        raise UnknownNameError(
            f"nothing installed is called {short!r}.{did_you_mean(short, every)} See: ultra-train list"
        )
    for index, kind in enumerate(found):
        if index:
            click.echo()
        entry = KINDS[kind].entry(short)
        click.echo(f"{KINDS[kind].noun} {entry.name} ({_origin(entry)})")
        for line in _lines(kind, entry):
            click.echo(line)


def _origin(entry: Entry) -> str:
    return f"{entry.distribution} {entry.version}, {entry.target}".replace(" ,", ",")


def _lines(kind: str, entry: Entry) -> Iterator[str]:
    if kind == "presets":
        return _preset(entry)
    return itertools.chain(_plugin_or_model(kind, entry), _other_names(kind, entry))


def _plugin_or_model(kind: str, entry: Entry) -> Iterator[str]:
    plugin = entry.load()
    if inspect.isclass(plugin) and kind == "tasks":
        return itertools.chain(task_lines(plugin), _faults(entry))
    if inspect.isclass(plugin) or inspect.isroutine(plugin):
        return _plugin(plugin)
    return _model(plugin)


def _other_names(kind: str, entry: Entry) -> Iterator[str]:
    """Yield the other names of a plugin and of its options in presets."""
    plugin = entry.load()
    names = []
    for name, alias in KINDS[kind].aliases(f"{entry.distribution}:{entry.name}").items():
        implied = "".join(f", with {key}: {value}" for key, value in alias.options.items())
        names.append(f"{name}{implied}{f' ({alias.remark})' if alias.remark else ''}")
    options = []
    for name, alias in getattr(plugin, "option_aliases", {}).items():
        part = f", number {alias.part + 1} of its list" if alias.part is not None else ""
        options.append(f"{name}: {alias.of}{part}{', with either sign' if alias.convert else ''}")
    idle = [f"{name}: {why}" for name, why in getattr(plugin, "idle_options", {}).items()]
    for name, said in getattr(plugin, "implied_options", {}).items():
        idle.append(f"{name} (only {', '.join(map(written, said.values))}): {said.why}")
    titles = ("other names", "other names of options", "accepted without effect")
    for title, rows in zip(titles, (names, options, idle), strict=True):
        if rows:
            yield from ("", f"  {title}:", *(f"    {row}" for row in rows))


def _preset(entry: Entry) -> Iterator[str]:
    from ultra_core.config.preset_meta import read_meta  # the YAML library takes a while to import

    for key, value in read_meta(Path(entry.target)).items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"  {key}: {text}"
    yield f"  all of it: ultra-train show {entry.name}"


def _model(plugin: Any) -> Iterator[str]:
    yield f"  {getattr(plugin, 'summary', '') or plugin!r}"
    yield f"  trains and saves: {getattr(plugin, 'model_class', '?')}"
    for field, value in getattr(plugin, "defaults", {}).items():
        yield f"  {field}: {value}"


def task_lines(plugin: type) -> Iterator[str]:
    """Yield what a task is, the keys that it adds to presets, and its commands."""
    from ultra_core.plugins.describe import as_yaml, docstring_sections
    from ultra_core.plugins.types import range_of, words

    text, _ = docstring_sections(inspect.getdoc(plugin) or "")
    yield from (f"  {line}".rstrip() for line in text.splitlines())
    options, section = getattr(plugin, "options", None), getattr(plugin, "section", None)
    if options is not None:
        attrs.resolve_types(options)
        place = "training" if section is None else f"training.{section}"
        yield from ("", f"  options, in {place}:")
        for field in attrs.fields(options):
            hint, extras = field.type, ()
            if get_origin(hint) is Annotated:
                hint, *rest = get_args(hint)
                extras = tuple(rest)
            default = "required" if field.default is attrs.NOTHING else as_yaml(_default(field.default))
            yield f"    {field.name}: {words(hint, range_of(extras))} [{default}]"
            if text := field.metadata.get("help"):
                yield f"        {text}"
    if commands := getattr(plugin, "commands", {}):
        yield from ("", f"  commands: {', '.join(f'ultra-train {name}' for name in commands)}")


def _faults(entry: Entry) -> Iterator[str]:
    """Yield what keeps a task from being used."""
    from ultra_train.cli.task_faults import faults_of

    if faults := faults_of(entry):
        yield from ("", "  cannot be used as it is:", *(f"    {fault}" for fault in faults))


def _default(value: Any) -> Any:
    """Return the default of a field; that of a section as plain data."""
    from ultra_core.config import unstructure

    return unstructure(value.factory()) if isinstance(value, attrs.Factory) else value  # type: ignore[arg-type]


def _plugin(plugin: Any) -> Iterator[str]:
    from ultra_core.plugins.describe import describe as describe_plugin

    description = describe_plugin(plugin)
    yield f"  {description.summary}"
    yield from (f"  {line}".rstrip() for line in description.body.splitlines())
    settable = [row for row in description.options if row.settable]
    yield from ("", "  options:") if settable else ("", "  no options")
    for row in settable:
        yield f"    {row.name}: {row.type} [{_unless_set(row)}]"
        if row.doc:
            yield f"        {row.doc}"
    for title, text in description.sections.items():
        yield ""
        yield f"  {title}:"
        yield from (f"    {line}".rstrip() for line in text.splitlines())


def _unless_set(row: Any) -> str:
    """Return what an option is without being set; None stands for what follows from the width."""
    if not row.from_model:
        return row.default or "required"
    source = f"the model's {row.from_model}"
    return source if row.default == "null" else f"{row.default or 'required'} or {source}"
