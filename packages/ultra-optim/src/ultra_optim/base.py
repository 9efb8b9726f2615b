"""The base of optimizers that are not thin wrappers: the walk over groups, wide state, batches."""

from __future__ import annotations

import abc
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.contract.checks import Checked
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.c_backend import check_compiler, wanted
from ultra_optim.engine.compiled import compiling, is_wanted
from ultra_optim.engine.passes import Look, Update, Walk, look, once, walk_all, walk_alone
from ultra_optim.engine.passes import elementwise as elementwise
from ultra_optim.engine.passes import wide_dtype as wide_dtype
from ultra_optim.engine.threads import on_cpu

SLICE = 1 << 19
"""Elements that work by whole tensors takes at a time on a CPU: a few such tensors fit a last-level cache."""

NEAR = 5 << 17
"""Elements of a batch that is read twice from a CPU's last-level cache."""

BATCH = 1 << 24
"""Elements of scratch space that a step may take at a time."""


class Optimizer(Checked, torch.optim.Optimizer, abc.ABC):
    """A ``torch.optim.Optimizer`` whose subclasses write :meth:`update` for the parameters of one group.

    ``step()`` takes a closure, skips parameters without gradient, refuses sparse gradients before it
    changes anything, heeds no autocast, and leaves gradients as they were. State is tensors of at least
    float32 and plain numbers. Low-precision parameters are updated in float32 and rounded once; updates below
    their resolution are lost, so keep weights in float32 and let autocast lower the precision.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits()
    compiled: bool | None = False
    """Whether element-wise updates are compiled, see :func:`ultra_optim.engine.compiled.compiling`."""
    _walks: list[tuple[Walk, Look]]
    _tasks: list[Callable[[], None]]

    def __init__(self, params: Any, defaults: dict[str, Any], *, compile: bool | None = False) -> None:
        if compile:
            check_compiler(type(self).__name__)
        super().__init__(params, defaults)
        self.compiled = compile

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled."""
        return {**super().__getstate__(), "compiled": self.compiled}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it.

        Raises:
            ValueError: see :class:`Checked`; or ``compile`` is true for it and there is no compiler.
        """
        if param_group.get("compile"):
            check_compiler(type(self).__name__)
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: evaluates the loss and its gradients first.

        Returns:
            what the closure returned, else None.

        Raises:
            ValueError: a gradient is sparse; nothing was changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.prepare()
        self._walks, self._tasks = [], []
        with without_autocast({p.device.type for group in self.param_groups for p in group["params"]}):
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
                if params:
                    with compiling(group.get("compile", self.compiled)):
                        self.update(group, params)
            self._go()
            with compiling(self.compiled):
                self.finish()
            self._go()
        return loss

    def _go(self) -> None:
        walks, tasks = self._walks, self._tasks
        self._walks, self._tasks = [], []
        walk_all(walks, tasks)

    @abc.abstractmethod
    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move these parameters of the group, all of which have a gradient."""

    def finish(self) -> None:
        """Do what needs the updates of all groups."""

    def later(
        self, update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any
    ) -> None:
        """Have :func:`elementwise` called after :meth:`update` of all groups, or after :meth:`finish`.

        Threads then divide the work of a step once, not that of each group.
        """
        self.walk_later(once(look(update, params, *state, **numbers)))

    def walk_later(self, looks: Walk) -> None:
        """Do as :meth:`later` for an update that must look several times."""
        self._walks += [(looks, first) for first in itertools.islice(looks, 1)]

    def walk_batches_later(self, walk: Callable[[list[Tensor]], Walk], params: Sequence[Tensor]) -> None:
        """Do as :meth:`walk_later` on lists of the parameters.

        On a CPU a list has at most :data:`NEAR` elements, so that the second look finds them in the cache,
        and one thread does its work; longer parameters, one to a list, are divided look by look.
        """
        near = all(map(on_cpu, params)) and not wanted(is_wanted())
        for batch in batches(params, NEAR if near else BATCH):
            if near and sum(p.numel() for p in batch) <= NEAR:
                self._tasks.append(functools.partial(walk_alone, walk(batch)))
            else:
                self.walk_later(walk(batch))

    def zeros(self, params: Sequence[Tensor], name: str) -> list[Tensor]:
        """Return a state tensor of every parameter, zero and at least float32 at first."""
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p, dtype=wide_dtype(p))
        return [self.state[p][name] for p in params]

    def count(self, params: Sequence[Tensor], name: str = "step") -> dict[int, list[Tensor]]:
        """Count this update of every parameter; return the parameters by their count, which starts at 1."""
        by_count: dict[int, list[Tensor]] = {}
        for p in params:
            self.state[p][name] = self.state[p].get(name, 0) + 1
            by_count.setdefault(self.state[p][name], []).append(p)
        return by_count


@contextlib.contextmanager
def without_autocast(kinds: Iterable[str]) -> Iterator[None]:
    """Keep the dtypes of matrix products on these kinds of devices, where a step is taken under autocast."""
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def piece_size(tensor: Tensor) -> int:
    """Return the elements that work in pieces takes at a time: those that a CPU's cache holds, or many."""
    return SLICE if tensor.device.type == "cpu" else BATCH


def batches(params: Sequence[Tensor], limit: int | None = None) -> Iterator[list[Tensor]]:
    """Yield the parameters in order, in lists of at most ``limit`` elements or of one parameter.

    Args:
        params: the parameters.
        limit: :data:`BATCH` if None.
    """
    limit = BATCH if limit is None else limit
    batch: list[Tensor] = []
    filled = 0
    for p in params:
        if batch and filled + p.numel() > limit:
            yield batch
            batch, filled = [], 0
        batch.append(p)
        filled += p.numel()
    if batch:
        yield batch
