"""Comparison of tensors; the message has the position, both values, and the relative error."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.testing.draws import relative_error
from ultra_core.testing import Finding


def difference(
    got: Tensor,
    wanted: Tensor,
    *,
    limit: float = 0.0,
    what: str = "output",
    other: str = "wanted",
    scale: Tensor | None = None,
) -> str:
    """Return where two tensors differ most, as a clause for a message.

    ``output[0, 3, 5] is 0.123, alone 0.456 (relative error 2.7e-01, limit 1e-12; 7 of 80 numbers are off,
    the first at [0, 2, 0])``

    Args:
        got: the tensor under test.
        wanted: what it should be, of the same shape.
        limit: the largest relative error that is allowed.
        what: name of the tensor under test.
        other: name of what it is compared with.
        scale: the relative error is with respect to the largest number of this tensor; None: of ``wanted``.
    """
    if got.shape != wanted.shape:
        return f"{what} has the shape {tuple(got.shape)}, {other} {tuple(wanted.shape)}"
    a, b = got.detach().double(), wanted.detach().double()
    off = torch.nan_to_num((a - b).abs(), nan=float("inf"))
    largest = (wanted if scale is None else scale).detach().abs().max().double()
    most, wrong = int(off.argmax()), (off > limit * largest).flatten().nonzero().flatten()
    error = relative_error(got, wanted, scale)
    place = _position(most, got)
    if place and " " in what and not what.endswith("output"):
        place = f" at {place}"  # of a clause; brackets right behind it would belong to its last word
    found, expected = _numbers(a.flatten()[most], b.flatten()[most])
    text = f"{what}{place} is {found}, {other} {expected} (relative error {error:.1e}, limit {limit:.0e}"
    if len(wrong) > 1:
        text += (
            f"; {len(wrong)} of {got.numel()} numbers are off, the first at {_position(int(wrong[0]), got)}"
        )
    return f"{text})"


def check_close(
    got: Tensor,
    wanted: Tensor,
    limit: float,
    *,
    what: str = "output",
    other: str = "wanted",
    scale: Tensor | None = None,
    note: str = "",
    fix: str = "",
) -> None:
    """Raise a finding unless two tensors agree within a relative error of ``limit``.

    Args:
        got: the tensor under test.
        wanted: what it should be.
        limit: largest value of ``max |got - wanted| / max |wanted|``.
        what: name of the tensor under test.
        other: name of what it is compared with.
        scale: see :func:`difference`.
        note: what else the message says, as the dtype.
        fix: what to do, where the rule's own advice does not fit.

    Raises:
        Finding: the shapes differ, or the relative error is above the limit.
    """
    if got.shape == wanted.shape and relative_error(got, wanted, scale) <= limit:
        return
    seen = difference(got, wanted, limit=limit, what=what, other=other, scale=scale)
    raise Finding(f"{seen}; {note}" if note else seen, fix=fix)


def check_finite(tensors: dict[str, Tensor], note: str, *, fix: str = "") -> None:
    """Raise a finding unless all tensors, by name, are finite.

    Raises:
        Finding: one is not; the message has its first number that is NaN or infinite.
    """
    for name, tensor in tensors.items():
        bad = (~tensor.detach().isfinite()).flatten().nonzero().flatten()
        if len(bad):
            value = tensor.detach().flatten()[bad[0]]
            place = f"{name}{_position(int(bad[0]), tensor)} is {_number(value)}"
            raise Finding(f"{place} ({len(bad)} of {tensor.numel()} numbers are not finite); {note}", fix=fix)


def _position(index: int, tensor: Tensor) -> str:
    where = torch.unravel_index(torch.tensor(index), tensor.shape) if tensor.ndim else ()
    return f"[{', '.join(str(int(i)) for i in where)}]" if len(where) else ""


def _numbers(first: Tensor, second: Tensor) -> tuple[str, str]:
    """Return two numbers with as many digits as tell them apart."""
    short = _number(first), _number(second)
    return short if len(set(short)) == 2 else (f"{float(first):.16g}", f"{float(second):.16g}")


def _number(value: Tensor) -> str:
    return f"{float(value):.6g}"
