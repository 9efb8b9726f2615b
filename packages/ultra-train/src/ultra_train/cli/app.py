"""The command ``ultra-train``: a group that imports its commands when they are used."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from ultra_core.errors import PluginError, UltraError

TRAINING = {
    "run": "ultra_train.cli.run:run",
    "train": "ultra_train.cli.run:train",
    "compare": "ultra_train.cli.compare:compare",
}
SEARCH = {
    "encode": "ultra_train.cli.encode:encode",
    "similarity": "ultra_train.cli.similarity:similarity",
    "index": "ultra_train.cli.index:index",
    "search": "ultra_train.cli.search:search",
}
TOOLS = {
    "doctor": "ultra_train.cli.doctor:doctor",
    "eval": "ultra_train.cli.eval:evaluate",
    "convert": "ultra_train.cli.convert:convert",
    "push": "ultra_train.cli.push:push",
    "report": "ultra_train.cli.report:report",
    "list": "ultra_train.cli.listing:list_plugins",
    "describe": "ultra_train.cli.describe:describe",
    "validate": "ultra_train.cli.validate:validate",
    "show": "ultra_train.cli.show:show",
    "schema": "ultra_train.cli.schema:schema",
    "plugin": "ultra_train.cli.plugin.group:plugin",
    "estimate": "ultra_train.cli.estimate:estimate",
    "tokenizer": "ultra_train.cli.tokenizer:tokenizer",
}
"""The commands that do not depend on installed tasks; those of tasks are listed after those of training."""

REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EIO,
)
"""Errors of the file system about a path that the user named."""


class UserFault(click.ClickException):
    """An error that the user can correct: printed on stderr, exit code 2, no traceback."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the message, on one of the processes of a run."""
        if speaks(self.__cause__):
            click.echo(f"error: {self.message}", err=True)


class PassingFault(UserFault):
    """An error that passes by itself, after which a supervisor may run the command again: exit code 75."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


def speaks(error: BaseException | None) -> bool:
    """Whether this process prints why the run ended; the others leave it to that process."""
    from ultra_train.system.process_group import speaks_for_all

    return speaks_for_all(error)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        own = {**TRAINING, **SEARCH, **TOOLS}
        target = own[cmd_name] if cmd_name in own else commands().get(cmd_name)
        try:
            return load(target) if target is not None else None
        except PluginError as error:  # the help of the others is still shown
            return broken(cmd_name, error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and print errors that a user can correct as plain messages."""
        try:
            return super().invoke(ctx)
        except UltraError as error:
            if debugging(ctx):
                raise
            raise (PassingFault if getattr(error, "passing", False) else UserFault)(str(error)) from error
        except KeyboardInterrupt as stop:
            from ultra_train.system.signals import exit_code, name_of

            if debugging(ctx):
                raise
            if not getattr(stop, "message", "") and speaks(stop):  # else the run has said it
                left = "; a run that has saved a checkpoint can be resumed with --resume"
                runs = ctx.invoked_subcommand in TRAINING
                click.echo(f"interrupted by {name_of(stop)} at once{left if runs else ''}", err=True)
            raise click.exceptions.Exit(exit_code(stop)) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from ultra_train.system.files import is_full_disk

            system = error if isinstance(error, OSError) else OSError()
            refused = system.errno in REFUSED and system.filename is not None
            if debugging(ctx) or not (refused or is_full_disk(error)):
                raise
            if refused:
                raise UserFault(f"{system.filename}: {system.strerror} (--debug shows where)") from error
            where = f" while writing {system.filename}" if system.filename else ""
            raise UserFault(
                f"the disk is full{where}; free some space, then resume from the last checkpoint (--resume)"
            ) from error


def commands() -> dict[str, str]:
    """Return every command with its ``module:attribute``; those of tasks are read without importing these."""
    from ultra_train.cli.task_commands import task_commands

    ours = {**TRAINING, **SEARCH, **TOOLS}
    theirs = {name: target for name, target in task_commands().items() if name not in ours}
    return {**TRAINING, **theirs, **SEARCH, **TOOLS}


def load(target: str) -> click.Command:
    """Import a command.

    Raises:
        PluginError: what a task names as one of its commands cannot be imported, or is none.
    """
    module, _, attribute = target.partition(":")
    try:
        command = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"the command at {target} cannot be imported: {error}") from error
    if not isinstance(command, click.Command):
        raise PluginError(f"{target} is no click command")
    return command


def broken(name: str, error: PluginError) -> click.Command:
    """Return a command that raises the error of a task whose command cannot be imported."""

    def refuse(**_: Any) -> None:
        raise error

    context = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, help=f"Broken: {error}", context_settings=context)


def debugging(ctx: click.Context) -> bool:
    """Whether tracebacks are wanted: ``--debug`` or ``ULTRA_DEBUG=1``."""
    return bool(ctx.params.get("debug")) or os.environ.get("ULTRA_DEBUG", "") not in ("", "0")


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"ultra-train {version('ultra-train')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks (also ULTRA_DEBUG=1).")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
def cli(debug: bool) -> None:
    """Pre-train and adapt text encoders from one YAML preset.

    A first run that needs nothing but this machine: ultra-train run quickstart
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 findings, 2 errors, 75 heat, 128 + n signal n."""
    try:
        cli.main(args=None if arguments is None else list(arguments), prog_name="ultra-train")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def train(arguments: Sequence[str]) -> Path:
    """Run the command ``train`` from Python: exceptions instead of exit codes, and the run's folder back."""
    arguments = list(arguments)
    if arguments[:1] == ["train"]:
        del arguments[0]
    try:
        folder = load(TRAINING["train"]).main(
            args=arguments, prog_name="ultra-train train", standalone_mode=False
        )
    except click.Abort as interrupted:
        raise KeyboardInterrupt from interrupted
    except click.ClickException as error:
        raise UltraError(error.format_message()) from error
    return Path(folder)


if __name__ == "__main__":
    sys.exit(main())
