"""Learning rates of their own for the query weights and for the parameters that patterns choose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import attrs
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from torch import nn

from ultra_core.errors import UltraError, shortened
from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.tasks.sparse.optimizer import QUERY, role_of_pattern

KEY = "router.learning_rate_patterns"


def query_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of static query embeddings by name, found by the type of their module."""
    return {
        f"{path}.{name}": parameter
        for path, module in model.named_modules()
        if isinstance(module, SparseStaticEmbedding)
        for name, parameter in module.named_parameters(recurse=False)
    }


@attrs.frozen
class OwnRates:
    """The parameters with a learning rate of their own.

    Attributes:
        roles: their roles by name of the parameter.
        notices: what a user should know about the patterns.
    """

    roles: Mapping[str, str]
    notices: tuple[str, ...] = ()


def own_rates(model: nn.Module, query_rate: float | None, patterns: Mapping[str, float]) -> OwnRates:
    """Return the parameters with a learning rate of their own.

    A pattern is searched for in the names of parameters as sentence-transformers has them, ``model.`` and
    the name in the model; if it is in none, in the names of the classes of the modules that own them. A
    pattern that finds the query weights is meant for these: what it also finds in the document encoder,
    such as the query projections of attention, keeps its learning rate.

    Args:
        model: the model.
        query_rate: learning rate of the query weights; None for one of a pattern, or that of the rest.
        patterns: regular expressions with learning rates; the first that finds a parameter counts.

    Raises:
        UltraError: a pattern finds nothing, or gives the query weights another learning rate than
            ``query_learning_rate``.
    """
    queries = query_weights(model)
    roles = dict.fromkeys(queries, QUERY) if query_rate is not None else {}
    notices = []
    for number, (pattern, rate) in enumerate(patterns.items(), start=1):
        found = _found(model, pattern)
        if not found:
            some = shortened([f"model.{name}" for name, _ in model.named_parameters()])
            raise UltraError(
                f"{KEY}: no parameter has a name in which {pattern!r} is found; parameters are "
                f"{', '.join(some)}. That of query weights is found by 'sub_modules\\.query\\.'"
            )
        mine = found & queries.keys()
        if mine and query_rate is not None and rate != query_rate:
            raise UltraError(
                f"{KEY}: {pattern!r} gives the query weights the learning rate {rate:g}, and "
                f"training.query_learning_rate {query_rate:g}; keep one of the two"
            )
        if mine and (others := sorted(found - queries.keys())):
            notices.append(
                f"{KEY}: {pattern!r} is also found in {len(others)} names of the document encoder, such "
                f"as {others[0]}; only the query weights get {rate:g}. 'sub_modules\\.query\\.' finds these "
                "alone"
            )
            found = mine
        roles = {**dict.fromkeys(found, role_of_pattern(number)), **roles}
    return OwnRates(roles, tuple(notices))


def _found(model: nn.Module, pattern: str) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    found = {name for name in names if re.search(pattern, f"model.{name}")}
    if found:
        return found
    owners = {path: type(module).__name__ for path, module in model.named_modules()}
    return {name for name in names if re.search(pattern, owners[name.rpartition(".")[0]])}


@contextmanager
def roles_of(model: nn.Module, own: OwnRates) -> Iterator[None]:
    """Let optimizers that are built while the block runs see these roles."""
    plugin = _Roles(lambda asked: own.roles if asked is model else {})
    manager = plugin_manager()
    manager.register(plugin)
    try:
        yield
    finally:
        manager.unregister(plugin)


class _Roles:
    """A plugin that knows the roles of parameters of one model."""

    def __init__(self, answer: Callable[[nn.Module], Mapping[str, str]]) -> None:
        self.answer = answer

    @hookimpl
    def ultra_parameter_roles(self, model: nn.Module) -> Mapping[str, str]:
        """Return the roles of parameters of this model."""
        return self.answer(model)
