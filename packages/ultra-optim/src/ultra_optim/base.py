"""The base class of optimizers that are not thin wrappers around torch's."""

from __future__ import annotations

import abc
import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.contract.checks import Checked, refuse_module
from ultra_optim.contract.tensor_numbers import as_numbers
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine import c_backend, sizes
from ultra_optim.engine.passes import Queued, queued, run, run_passes
from ultra_optim.engine.plain import Pass, Passes, Update, apply, run_plain, single
from ultra_optim.engine.plain import wide_dtype as wide_dtype
from ultra_optim.engine.threads import on_cpu


class Optimizer(Checked, torch.optim.Optimizer, abc.ABC):
    """A ``torch.optim.Optimizer`` whose subclasses implement :meth:`update` for the parameters of one group.

    ``step()`` takes a closure, skips parameters without gradient, refuses sparse gradients before it
    changes anything, ignores autocast, and leaves gradients as they were. State consists of tensors of at
    least float32 and plain numbers. Low-precision parameters are updated in float32 and rounded once; updates
    below their resolution are lost, so keep weights in float32 and let autocast lower the precision.

    Args:
        params: parameters or groups.
        defaults: hyperparameters of groups that do not set them.
        compile: how element-wise updates run, see :mod:`ultra_optim.engine.compilation`; a group may have an
            option ``compile`` of its own.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits()
    compiled: bool | None = None
    """The option ``compile``."""
    moved_elsewhere: frozenset[Tensor] = frozenset()
    """Parameters without a gradient here that another process updates in this step."""
    _compile: bool | None = None
    """The option of the group whose update is running."""
    _queue: list[Queued]
    _tasks: list[Callable[[], None]]

    def __init__(self, params: Any, defaults: dict[str, Any], *, compile: bool | None = None) -> None:
        if compile:
            c_backend.check_compiler(type(self).__name__)
        refuse_module(params)
        super().__init__(params, defaults)
        self.compiled = compile

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled."""
        return {**super().__getstate__(), "compiled": self.compiled}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it.

        Raises:
            ValueError: see :class:`Checked`; or its ``compile`` is true and there is no compiler.
        """
        if param_group.get("compile"):
            c_backend.check_compiler(type(self).__name__)
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: evaluates the loss and its gradients first.

        Returns:
            the value of the closure, or None.

        Raises:
            ValueError: a gradient is sparse; nothing was changed.
            RuntimeError: a CUDA graph is being captured.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        devices = {p.device.type for group in self.param_groups for p in group["params"]}
        if in_cuda_graph(devices):
            raise RuntimeError(
                f"{type(self).__name__}: a CUDA graph cannot hold step(): its counts and learning rates are "
                "Python numbers, which every replay would repeat; capture the forward and the backward pass, "
                "and call step() after the replay"
            )
        with without_autocast(devices), as_numbers(self.param_groups):
            self.prepare()
            self._queue, self._tasks = [], []
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
                if params:
                    self.set_compile(group)
                    self.update(group, params)
            self._run_queue()
            self.set_compile({})
            self.finish()
            self._run_queue()
        return loss

    def _run_queue(self) -> None:
        queue, tasks = self._queue, self._tasks
        self._queue, self._tasks = [], []
        run_passes(queue, tasks)

    def set_compile(self, group: Mapping[str, Any]) -> None:
        """Use the option ``compile`` of a group, or of the optimizer, for the updates that follow."""
        self._compile = group.get("compile", self.compiled)

    @abc.abstractmethod
    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group, all of which have a gradient."""

    def finish(self) -> None:
        """Do what needs the updates of all groups."""

    def enqueue(
        self, update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any
    ) -> None:
        """Run ``update(params, grads, *state, **numbers)`` in this step.

        With ``compile=False`` it runs now, in the plain form. Otherwise it runs after :meth:`update` of all
        groups, or after :meth:`finish`, so that threads divide the work of a step once and not that of each
        group.
        """
        one = Pass.of(update, params, *state, **numbers)
        if self._compile is False:
            apply(one)
        else:
            self._queue += queued(single(one), self._compile)

    def later(
        self, update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any
    ) -> None:
        """Do as :meth:`enqueue`; the former name."""
        warnings.warn("Optimizer.later() is called enqueue() now", DeprecationWarning, stacklevel=2)
        self.enqueue(update, params, *state, **numbers)

    def enqueue_passes(self, passes: Passes) -> None:
        """Run the passes of an update in this step, as :meth:`enqueue` does for an update of one pass."""
        if self._compile is False:
            run_plain(passes)
        else:
            self._queue += queued(passes, self._compile)

    def enqueue_batches(self, passes_of: Callable[[list[Tensor]], Passes], params: Sequence[Tensor]) -> None:
        """Do as :meth:`enqueue_passes` for lists of the parameters.

        On a CPU, all passes over one list of at most :data:`~ultra_optim.engine.sizes.CACHED_BATCH` elements
        are run by one thread, so that the second pass finds the tensors in the cache; longer parameters,
        one to a list, are divided pass by pass. C loops need no lists.
        """
        in_cache = self._compile is not False and bool(params) and all(map(on_cpu, params))
        in_cache = in_cache and not c_backend.is_used(self._compile)
        for batch in batches(params, sizes.CACHED_BATCH if in_cache else sizes.SCRATCH):
            if in_cache and sum(p.numel() for p in batch) <= sizes.CACHED_BATCH:
                self._tasks.append(functools.partial(_run_alone, passes_of, batch, self._compile))
            else:
                self.enqueue_passes(passes_of(batch))

    def run_update(
        self, update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any
    ) -> list[Tensor]:
        """Run ``update(params, grads, *state, **numbers)`` now, where what follows needs its results.

        Returns:
            what the update returns for each parameter; empty if it returns None.
        """
        one = Pass.of(update, params, *state, **numbers)
        return apply(one) if self._compile is False else run(queued(single(one), self._compile))[0]

    def zeros(self, params: Sequence[Tensor], name: str) -> list[Tensor]:
        """Return the state tensor of this name of every parameter; it starts as zeros of at least float32."""
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


def _run_alone(
    passes_of: Callable[[list[Tensor]], Passes], batch: list[Tensor], compile: bool | None
) -> None:
    run_passes(queued(passes_of(batch), compile))


def in_cuda_graph(device_types: Iterable[str]) -> bool:
    """Return whether what is computed on these device types is being captured in a CUDA graph."""
    return "cuda" in device_types and torch.cuda.is_current_stream_capturing()


@contextlib.contextmanager
def without_autocast(device_types: Iterable[str]) -> Iterator[None]:
    """Switch autocast off on these device types, so that matrix products of a step keep their dtype."""
    with contextlib.ExitStack() as stack:
        for device_type in device_types:
            if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        yield


def piece_size(tensor: Tensor) -> int:
    """Return how many elements of a tensor are worked on at a time: on a CPU those that its cache holds."""
    return sizes.PIECE if tensor.device.type == "cpu" else sizes.SCRATCH


def batches(params: Sequence[Tensor], limit: int | None = None) -> Iterator[list[Tensor]]:
    """Yield the parameters in order, in lists of at most ``limit`` elements or of one parameter.

    Args:
        params: the parameters.
        limit: number of elements; :data:`~ultra_optim.engine.sizes.SCRATCH` if None.
    """
    limit = sizes.SCRATCH if limit is None else limit
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
