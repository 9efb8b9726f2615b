"""Hook plugins with one fault each; ``MUTANTS`` has rows of the id of the rule, and the plugin."""

from types import SimpleNamespace
from typing import Any

from ultra_core.plugins.hooks import hookimpl


def ultra_run_finish(run: Any) -> None:
    """Its name lacks two letters, and nothing calls it."""


@hookimpl
def ultra_run_finished(run: Any) -> None:
    """Without a fault."""


def unmarked(run: Any) -> None:
    """Has no decorator."""


@hookimpl
def another_argument(run: Any, epoch: int) -> None:
    """Takes an argument that the hook does not have."""


@hookimpl
def optional(run: Any = None) -> None:
    """Never gets its run."""


@hookimpl
def with_the_rest(run: Any, **others: Any) -> None:
    """Waits for arguments that are never passed."""


@hookimpl
async def awaited(run: Any) -> None:
    """Is never awaited."""


@hookimpl
def yielded(run: Any) -> Any:
    """Yields callbacks instead of returning a list."""
    yield None


class WantsAPath:
    """Cannot be made without arguments."""

    def __init__(self, path: str) -> None:
        self.path = path

    @hookimpl
    def ultra_run_finished(self, run: Any) -> None:
        """Without a fault."""


class Writes:
    """Without a fault, and a class."""

    @hookimpl
    def ultra_run_finished(self, run: Any) -> None:
        """Without a fault."""

    @hookimpl(wrapper=True)
    def ultra_evaluate(self, run: Any, model: Any) -> Any:
        """Wrap the others."""
        return (yield)


SOUND = [SimpleNamespace(ultra_run_finished=ultra_run_finished), Writes]

MUTANTS = [
    ("H1", SimpleNamespace(ultra_run_finished=ultra_run_finished, ultra_run_finish=ultra_run_finish)),
    ("H2", SimpleNamespace(finished=unmarked)),
    ("H3", SimpleNamespace(ultra_run_finished=unmarked)),
    ("H3", SimpleNamespace(ultra_run_finished=another_argument)),
    ("H3", WantsAPath),
    ("H4", SimpleNamespace(ultra_run_finished=optional)),
    ("H4", SimpleNamespace(ultra_run_finished=with_the_rest)),
    ("H5", SimpleNamespace(ultra_run_finished=awaited)),
    ("H5", SimpleNamespace(ultra_callbacks=yielded)),
]
