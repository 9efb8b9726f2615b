"""Parameters and groups that a caller gives instead of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from ultra_core.errors import UltraError, did_you_mean
from ultra_core.plugins.signatures import check_options, read_options
from ultra_optim.contract.checks import LAYOUT, OPTIONAL, materialized

Parameters: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
"""Parameters, named parameters, or groups."""

NO_OPTIONS = OPTIONAL | {"params", "role", "decay", *LAYOUT}
"""Keys of a group that are no options of an optimizer."""


def is_model(model: Any) -> bool:
    """Whether this is a module, or a list that holds one."""
    return isinstance(model, nn.Module) or (
        isinstance(model, (list, tuple)) and any(isinstance(item, nn.Module) for item in model)
    )


def given_groups(label: str, cls: type, params: Any) -> list[Any]:
    """Return parameters, named parameters or groups as a list, with the options of groups checked.

    Args:
        label: the name of the optimizer, for messages.
        cls: its class.
        params: what the caller gave.

    Raises:
        UltraError: an item is none of these, or an option of a group is unknown or out of range.
    """
    if isinstance(params, (str, Tensor, Mapping)) or not isinstance(params, Iterable):
        raise UltraError(f"{label}: expected {_EXPECTED}, got {type(params).__name__}")
    items = list(params)
    if not items:
        raise UltraError(f"{label}: there is no parameter: the list or iterator is empty")
    for index, item in enumerate(items):
        if isinstance(item, dict) and "params" in item:
            for message in check_options(label, cls, _options(cls, item)).values():
                raise UltraError(f"group {index}: {message}")
        elif not isinstance(item[1] if isinstance(item, tuple) and len(item) == 2 else item, Tensor):
            raise UltraError(f"{label}: expected {_EXPECTED}; item {index} is a {type(item).__name__}")
    return list(materialized(items))


_EXPECTED = "a model, parameters, named parameters, or groups with 'params'"


def _options(cls: type, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group and what looks like misspelt ones; other keys are the caller's."""
    known = read_options(cls)
    return {
        key: value
        for key, value in group.items()
        if key not in NO_OPTIONS and (key in known or did_you_mean(key, known))
    }
