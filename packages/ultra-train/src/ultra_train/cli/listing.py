"""``ultra-train list``: the installed plugins and their packages; nothing is imported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_core.plugins.hooks import plugin_entries
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry
from ultra_core.plugins.source_files import docstring, summary
from ultra_optim.contract.facts import facts
from ultra_train.cli.kinds import Kind

HOOKS = "hook plugins"
"""Title of the modules whose hooks are called, which are no names for YAML."""

HEADERS = {"optimizers": ("name", "package", "state of a matrix", "treats", "arXiv", "")}
"""Headers for the kinds whose columns need one."""

NARROW = 40
"""The smallest width of a summary, however narrow the terminal is."""


@click.command("list")
@click.argument("kind", type=Kind(), required=False)
@click.option(
    "--check", is_flag=True, help="Import each in a separate process; exit code 1 if one is broken."
)
@click.option("--guide", multiple=True, help="Presets in this guide: best_first_run, lowest_vram, ...")
@click.option("--tag", multiple=True, help="Presets with this tag: p40_safe, low, ...")
def list_plugins(kind: str | None, check: bool, guide: tuple[str, ...], tag: tuple[str, ...]) -> None:
    """List installed plugins of one KIND or of all: name, package, version, what it is."""
    if (guide or tag) and kind not in (None, "presets"):
        raise click.UsageError("--guide and --tag choose presets; leave KIND out or say presets")
    if guide or tag:
        shown = {"presets": presets_in(guide, tag)}
    else:
        shown = {name: list(KINDS[name].entries()) for name in ([kind] if kind else KINDS)}
    if len(shown) == len(KINDS) and (hooks := plugin_entries()):
        shown[HOOKS] = list(hooks)
    for name, entries in shown.items():
        click.echo(f"{name}:" if entries else f"{name}: none")
        header = [HEADERS[name]] if name in HEADERS and entries else []
        for line in table([*header, *(_row(name, entry) for entry in entries)]):
            click.echo(f"  {line}")
    if check:
        _report(shown)


def _row(kind: str, entry: Entry) -> tuple[str, ...]:
    if kind == "presets":
        return entry.name, _owner(entry), ", ".join(_tags(entry)), str(_meta(entry).get("summary", ""))
    columns = facts(docstring(entry)) if kind == "optimizers" else ()
    return entry.name, _owner(entry), *columns, summary(entry)


def _meta(entry: Entry) -> dict[str, Any]:
    from ultra_core.config.preset_meta import read_meta  # the YAML library takes a while to import

    return read_meta(Path(entry.target))


def _tags(entry: Entry) -> list[str]:
    meta = _meta(entry)
    return [str(meta[key]) for key in ("vram", "stability") if meta.get(key)]


def presets_in(guides: Sequence[str], tags: Sequence[str] = ()) -> list[Entry]:
    """Return the installed presets that are in all of these guides and have all of these tags.

    Args:
        guides: names of selector guides.
        tags: tiers of GPU memory and stability.

    Raises:
        UltraError: no installed preset has one of them; the message lists those that some preset has.
    """
    _check_known("guide", guides, _guides)
    _check_known("tag", tags, _tags)
    return [
        entry
        for entry in KINDS["presets"].entries()
        if set(guides) <= set(_guides(entry)) and set(tags) <= set(_tags(entry))
    ]


def _guides(entry: Entry) -> list[str]:
    guides = _meta(entry).get("guides")
    return guides if isinstance(guides, list) else []


def _check_known(option: str, wanted: Sequence[str], of: Callable[[Entry], list[str]]) -> None:
    """Refuse a guide or tag that no installed preset has.

    Raises:
        UltraError: there is one.
    """
    known = sorted({name for entry in KINDS["presets"].entries() for name in of(entry)}) if wanted else []
    for name in wanted:
        if name not in known:
            raise UltraError(
                f"--{option}: no installed preset has the {option} {name!r}.{did_you_mean(name, known)} "
                f"There are: {listed(known)}"
            )


def _owner(entry: Entry) -> str:
    return f"{entry.distribution} {entry.version}".rstrip()


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield rows as aligned columns; the last one is cut at the edge of the terminal."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    room = max(NARROW, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 2 * len(widths) - 3)
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        last = row[-1] if len(row[-1]) <= room else row[-1][: room - 3] + "..."
        yield "  ".join([*cells, last]).rstrip()


def _colliding(tasks: Sequence[Entry]) -> list[tuple[str, Entry, str]]:
    """Return the tasks that can be imported but not used beside the others."""
    from ultra_train.cli.task_faults import faults_of

    return [("tasks", entry, why) for entry in tasks for why in faults_of(entry)]


def _report(shown: dict[str, list[Entry]]) -> None:
    from ultra_train.cli.checking import broken

    faults = [(kind, entry, why) for kind in shown if kind != HOOKS for entry, why in KINDS[kind].broken()]
    faults += broken({kind: entries for kind, entries in shown.items() if kind != "presets"})
    if not any(kind == "tasks" for kind, _, _ in faults):  # else looking at them might end the process
        faults += _colliding(shown.get("tasks", ()))
    for kind, entry, why in faults:
        click.echo(f"broken: {kind}:{entry.name} ({_owner(entry)}): {why}", err=True)
    click.echo(f"{sum(map(len, shown.values()))} checked, {len(faults)} broken")
    if faults:
        raise click.exceptions.Exit(1)
