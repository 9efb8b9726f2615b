"""Learning rates and other numbers of groups that are tensors.

A caller who passes ``lr=torch.tensor(1e-3)`` may write to that tensor, as torch's schedulers do: groups keep
it. Steps compute with its value, read once a step, and state dicts hold the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor


def tensors_of(group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the options of a group that are tensors."""
    return {key: value for key, value in group.items() if key != "params" and isinstance(value, Tensor)}


def as_number(name: str, value: Any) -> Any:
    """Return the value of a tensor of one element, and anything else as it is.

    Raises:
        ValueError: the tensor does not have one element.
    """
    if not isinstance(value, Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"{name} is a tensor of shape {tuple(value.shape)}; expected one number")
    return value.item()


def plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group with numbers in the place of tensors."""
    return {**group, **{key: as_number(key, value) for key, value in tensors_of(group).items()}}


@contextmanager
def as_numbers(groups: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Put numbers in the place of tensors for the duration of a step."""
    held = [(group, tensors_of(group)) for group in groups]
    for group, _ in held:
        group |= plain(group)
    try:
        yield
    finally:
        for group, tensors in held:
            group.update(tensors)


def refill(group: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the numbers that were loaded into a group to its own tensors, and keep those."""
    group |= plain(group)
    for key, tensor in tensors.items():
        group[key] = tensor.fill_(group[key]) if key in group else tensor
