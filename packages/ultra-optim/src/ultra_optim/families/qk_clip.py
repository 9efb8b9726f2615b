"""QK-clip: the blocks whose attention logits are limited, and the factors of their queries and keys."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn

from ultra_core.contracts import LogitRows, RecordsLogits
from ultra_core.errors import PluginError
from ultra_optim.engine.plain import wide_dtype


class Target(NamedTuple):
    """A block whose logits are limited: the rows to scale, each with its parameter, and its key heads."""

    block: RecordsLogits
    rows: list[tuple[Tensor, LogitRows]]
    key_heads: int

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return self.rows[0][0].device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which processes exchange maxima."""
        return wide_dtype(self.rows[0][0])

    def no_maxima(self) -> Tensor:
        """Return the maxima of a process that recorded none: -inf for each head."""
        heads = next(rows.heads for _, rows in self.rows if rows.part != "key")
        return torch.full((heads,), -math.inf, dtype=self.dtype, device=self.device)

    def replaced(self, replacements: Mapping[Tensor, Tensor]) -> Target:
        """Return it with other tensors in the place of its parameters."""
        return self._replace(rows=[(replacements[parameter], rows) for parameter, rows in self.rows])

    def scale(self, factors: dict[str, Tensor], *, skipped: Collection[Tensor] = ()) -> None:
        """Multiply the rows of each head by the factor of their part, except those of some parameters."""
        for parameter, rows in self.rows:
            if parameter in skipped:
                continue
            heads = parameter[rows.start : rows.stop].unflatten(0, (rows.heads, rows.width))
            heads.mul_(factors[rows.part].to(heads.device).view(-1, *[1] * (heads.ndim - 1)))


def is_distributed() -> bool:
    """Whether this process is part of a distributed run."""
    return distributed.is_available() and distributed.is_initialized()


def in_any_process(flags: list[bool], device: torch.device) -> list[bool]:
    """Return which flags are set in any process, so that all processes wait for the same communication."""
    if not is_distributed():
        return flags
    found = torch.tensor(flags, dtype=torch.int32, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


def find_targets(model: nn.Module | Sequence[nn.Module]) -> Iterator[Target]:
    """Yield the blocks of a model, or of several modules, that record logits and declare rows to scale.

    Raises:
        PluginError: a block names a parameter that does not exist, or its rows do not fit its heads.
    """
    seen: set[int] = set()
    for root in [model] if isinstance(model, nn.Module) else model:
        for module in root.modules():
            if id(module) in seen or not isinstance(module, RecordsLogits):
                continue
            seen.add(id(module))
            if rows := module.logit_rows():
                yield _target(module, rows)


def _target(block: Any, rows: tuple[LogitRows, ...]) -> Target:
    parameters = dict(block.named_parameters())
    for one in rows:
        if one.parameter not in parameters or len(parameters[one.parameter]) < one.stop:
            raise PluginError(f"{type(block).__name__}.logit_rows() names rows that do not exist: {one}")
    heads = {one.heads for one in rows if one.part != "key"}
    groups = {one.heads for one in rows if one.part == "key"}
    if len(heads) != 1 or len(groups) != 1 or next(iter(heads)) % next(iter(groups)):
        raise PluginError(
            f"{type(block).__name__}.logit_rows() needs queries of H heads and keys of G, G dividing H; "
            f"it has queries of {sorted(heads)} and keys of {sorted(groups)}"
        )
    return Target(block, [(parameters[one.parameter], one) for one in rows], next(iter(groups)))


def clip_factors(maxima: Tensor, *, threshold: float, alpha: float, key_heads: int) -> dict[str, Tensor]:
    """Return the factors of each part of :class:`ultra_core.contracts.LogitRows`, one for each head.

    Args:
        maxima: largest logit of each head ``(H,)``. One that is not finite clips nothing, because an overflow
            in a forward pass need not come from these weights.
        threshold: the threshold.
        alpha: the share of the query.
        key_heads: G; each is shared by ``H / G`` neighbouring query heads.
    """
    gamma = torch.where(maxima.isfinite(), threshold / maxima.clamp(min=threshold), 1.0)
    keys = gamma.unflatten(0, (key_heads, -1)).amin(1) ** (1 - alpha)
    return {
        "query": gamma / keys.repeat_interleave(len(gamma) // key_heads),
        "key": keys,
        "lone_query": gamma,
    }
