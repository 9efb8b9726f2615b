"""``ultra-train plugin new``: a package with a plugin that installs, is checked and trains as it stands."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_core.plugins.hooks import plugin_entries
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry
from ultra_core.plugins.registry import NAME
from ultra_train.cli.plugin.templates import GROUPS, distribution_of, written
from ultra_train.system.files import new_whole_folder

LONGEST = 40
"""Maximum number of characters of a name, which is part of many lines of code."""


@click.command(no_args_is_help=True)
@click.argument("name")
@click.option("--kind", required=True, metavar="KIND", help=f"What it is: {', '.join(GROUPS)}.")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Folder to write; default: NAME with dashes."
)
def new(name: str, kind: str, folder: Path | None) -> None:
    """Write a package with a plugin NAME, ready to install, to check and to train with.

    It holds a small working plugin of its kind to start from, its entry point, tests that run the conformance
    kit, a README, and a preset that uses the plugin. Nothing that exists is overwritten.
    """
    if kind not in GROUPS:
        raise UltraError(
            f"there is no kind {kind!r}.{did_you_mean(kind, GROUPS)} Kinds: {listed(list(GROUPS))}"
        )
    if problem := problem_of(name):
        raise UltraError(f"{name!r} cannot be the name of a plugin: {problem}")
    folder = folder or Path(distribution_of(name))
    write(folder, written(kind, name))
    click.echo(f"{folder}: a package with the {kind} {name}. Next:")
    click.echo(f"  cd {folder}")
    click.echo("  pip install -e '.[testing]'")
    click.echo(f"  ultra-train plugin check {name}")
    click.echo("  pytest")
    click.echo(f"  ultra-train run {name}.yaml")


def problem_of(name: str) -> str:
    """Return why a plugin, and a package of the same name, cannot have this name; empty if they can."""
    if not NAME.fullmatch(name):
        near = re.sub("[^a-z0-9_]+", "_", name.lower()).strip("_")
        advice = f". Did you mean {near!r}?" if NAME.fullmatch(near) else ""
        return f"names are lower-case letters, digits and underscores, and begin with a letter{advice}"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters; at most {LONGEST} fit into lines of code"
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    if name in sys.stdlib_module_names:
        return "it is a module of Python's standard library"
    if owners := [*_registered(name)]:
        return f"it is taken by {listed(owners)}"
    distribution = distribution_of(name)
    try:
        return f"{distribution} {version(distribution)} is installed in this environment"
    except PackageNotFoundError:
        pass
    found = find_spec(name)  # imports nothing for a top-level name
    return f"a module of this name is installed: {found.origin}" if found and found.origin else ""


def _registered(name: str) -> list[str]:
    owners = [
        f"the {registry.noun} {entry.name} of {_owner(entry)}"
        for registry in KINDS.values()
        for entry in registry.entries()
        if registry.spellings().get(name) == entry.name
    ]
    return owners + [f"the hooks {e.name} of {_owner(e)}" for e in plugin_entries() if e.name == name]


def _owner(entry: Entry) -> str:
    return f"{entry.distribution} {entry.version}".rstrip()


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a new folder, all of them or none.

    Raises:
        UltraError: something of this name exists that is no empty folder, or it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UltraError(f"{folder} exists; nothing is overwritten. Choose another folder with --to")
    try:
        _write(folder, files)
    except OSError as error:
        raise UltraError(f"{folder} cannot be written: {error.strerror}") from error


def _write(folder: Path, files: dict[str, bytes]) -> None:
    with new_whole_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
