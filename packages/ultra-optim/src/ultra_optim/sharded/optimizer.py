"""A wrapper that divides the work of any optimizer among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ultra_core.errors import UltraError
from ultra_optim.contract.traits import OptimizerTraits, traits_of
from ultra_optim.sharded.exchange import Transfer, gather, scatter
from ultra_optim.sharded.layout import is_sharded, local_part, whole
from ultra_optim.sharded.placement import Placement, common_group, place, place_copies
from ultra_optim.sharded.state import own_state, whole_state


class ShardedOptimizer(Optimizer):
    """Steps parameters that FSDP2 divides among processes exactly as one process would step them whole.

    Methods that treat every element by itself (trait ``elementwise``; AdamW's part of matrix optimizers) step
    the part that each process holds, without communication. For every other method each tensor has one owner,
    see :mod:`ultra_optim.sharded.placement`: its gradient and its weights are gathered there, the owner takes
    the step, and the new weights go back to the processes that hold them. The owner alone has the state of
    the tensor, so each process has its share of it. The optimizer inside only ever sees plain tensors, so
    that its kernels and batches run as in one process.

    It wraps the optimizer before or after the parameters are sharded, and does nothing as long as they are
    not. Its groups are those of the optimizer inside; learning-rate schedules, clipping and hooks use it as
    they would use that. Third-party optimizers without traits are taken to treat every tensor by itself; one
    with a norm over all parameters declares ``common_norm`` and runs on one process.

    With ``replicas``, processes that hold all parameters and the same gradients, as with DDP, divide the
    updates of the matrices of matrix methods (trait ``matrix``): each matrix has an owner, which alone has
    its state and sends its new weights to the others. Every process updates all else.

    An update sends, for every element with an owner, its gradient and its weight to the owner and the weight
    back unless it is there already: 3 (R - 1) / R^2 elements from each of R processes, where one forward and
    backward of FSDP sends 3 (R - 1) / R. Replicas send (R - 1) / R elements for each that has an owner, where
    DDP sends 2 (R - 1) / R for each gradient.

    Args:
        inner: the optimizer.
        replicas: processes that each hold all parameters, with the same gradients; None if they do not.

    Attributes:
        bytes_sent: what this process has sent to others for steps so far.
    """

    def __init__(self, inner: Optimizer, replicas: dist.ProcessGroup | None = None) -> None:
        # No call of Optimizer.__init__, which would make groups and hooks of its own: those inside are used.
        self.inner, self._replicas = inner, replicas
        self.bytes_sent = 0
        self._held = [[_empty_like(p) for p in group["params"]] for group in inner.param_groups]
        self._placements: list[list[Placement]] | None = None
        self._early_state = inner.state_dict() if inner.state else None
        if callable(replace := getattr(inner, "replace_parameters", None)):
            pairs = zip(inner.param_groups, self._held, strict=True)
            replace({p: h for g, held in pairs for p, h in zip(g["params"], held, strict=True)})

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the optimizer inside."""
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        """Return the optimizer inside and its groups."""
        return f"ShardedOptimizer({self.inner!r})"

    @property
    def traits(self) -> OptimizerTraits:
        """The traits of the optimizer inside."""
        return traits_of(self.inner)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the optimizer inside, with the parameters of the model."""
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state that this process has, by tensors of the optimizer inside."""
        return self.inner.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The defaults of the optimizer inside."""
        return self.inner.defaults

    @property
    def is_divided(self) -> bool:
        """Whether the parameters, or the work on them, are divided among processes by now."""
        return self._replicas is not None or self._is_sharded

    @property
    def _is_sharded(self) -> bool:
        return any(is_sharded(p) for group in self.param_groups for p in group["params"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group before the first step.

        Raises:
            UltraError: the others are divided among processes already.
        """
        if self._is_sharded or self._placements is not None:
            raise UltraError("groups cannot be added to an optimizer of sharded parameters; add them before")
        self.inner.add_param_group(param_group)
        self._held.append([_empty_like(p) for p in self.inner.param_groups[-1]["params"]])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; all processes call this together.

        Args:
            closure: evaluates the loss and its gradients first.

        Returns:
            the value of the closure, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self.is_divided:
            self.inner.step()
            return loss
        with self._inside(gradients=True):
            self.inner.step()
        return loss

    def eval(self) -> None:
        """Write the weights for evaluation into the parameters, if the method has such."""
        self._switch("eval")

    def train(self, mode: bool = True) -> None:
        """Write the weights for training back into the parameters; ``train(False)`` is :meth:`eval`."""
        self._switch("train" if mode else "eval")

    @torch.no_grad()
    def _switch(self, name: str) -> None:
        call = getattr(self.inner, name, None)
        if call is None:
            return
        if not self.is_divided:
            call()
            return
        with self._inside(gradients=False):
            call()

    def curvature_step(self, closure: Callable[[], float]) -> None:
        """Update the estimate of the curvature of methods that have one; gradients are cleared."""
        inner: Any = self.inner
        if not self.is_divided:
            inner.curvature_step(closure)
            return

        def taken() -> float:
            with self._shown():
                count = closure()
            with torch.no_grad():
                self._collect(gradients=True)
            return count

        self.zero_grad()
        with self._inside(gradients=False):
            inner.curvature_step(taken)
        self.zero_grad()

    # -- state ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all processes as one process would have it; all processes call this together.

        The first process has it, on the CPU; the others have the groups and no state. Before the first step,
        replicas each have all of it.
        """
        if not self._is_sharded and self._placements is None:
            return self.inner.state_dict()
        placements = self._placed()
        with self._swapped():
            local = self.inner.state_dict()
        return whole_state(local, [one for group in placements for one in group], self._group)

    def local_state(self) -> dict[Any, Any]:
        """Return the state that this process has, by the numbers of the parameters."""
        if self.is_divided:
            self._placed()
            with self._swapped():
                found: dict[Any, Any] = self.inner.state_dict()["state"]
                return found
        return dict(self.inner.state_dict()["state"])

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state dict of whole tensors; every process takes from it what it updates.

        Raises:
            ValueError: on all processes, if it does not fit on one of them.
        """
        if not self.is_divided:
            self.inner.load_state_dict(dict(state_dict))
            return
        placements = [one for group in self._placed() for one in group]
        fault = None
        rank = dist.get_rank(self._group)
        try:
            with self._swapped(), self._allocated(rank):
                self.inner.load_state_dict(own_state(state_dict, placements, rank))
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            fault = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        faults: list[str | None] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(faults, fault, group=self._group)
        for said in faults:
            if said is not None:
                raise ValueError(said)

    # -- the tensors that the optimizer inside works on ---------------------------------------------------

    @property
    def placements(self) -> list[Placement]:
        """Where the parameters are updated, in the order of the groups."""
        return [one for group in self._placed() for one in group]

    @property
    def _group(self) -> dist.ProcessGroup:
        if self._replicas is not None:
            return self._replicas
        return common_group(one.layout for one in self.placements if one.layout is not None)

    def _placed(self) -> list[list[Placement]]:
        """Decide on the first call where the parameters are updated."""
        if self._placements is None:
            if self._replicas is not None:
                self._placements = place_copies(self.inner, self._replicas)
            else:
                self._placements = place(self.inner)
                if hasattr(self.inner, "sum_over_processes"):
                    self.inner.sum_over_processes = self._sum
            for one, held in self._pairs():
                part = local_part(one.parameter)
                if one.gathered:
                    held.data = torch.empty(one.parts.shape, dtype=part.dtype, device=part.device)
                    _release(held)
                else:
                    held.data = part
                held.grad_dtype = held.dtype  # the model may have been cast since
            if self._early_state is not None:
                early, self._early_state = self._early_state, None
                self.inner.state.clear()
                state = {k: {n: _whole(v) for n, v in entry.items()} for k, entry in early["state"].items()}
                self.load_state_dict({**early, "state": state})
        return self._placements

    def _pairs(self) -> Iterator[tuple[Placement, Tensor]]:
        assert self._placements is not None
        for group, held in zip(self._placements, self._held, strict=True):
            yield from zip(group, held, strict=True)

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        """Put the plain tensors into the groups."""
        shown = [group["params"] for group in self.param_groups]
        self._put(self._held)
        try:
            yield
        finally:
            self._put(shown)  # into the present groups: loading a state dict replaces them

    @contextmanager
    def _allocated(self, rank: int) -> Iterator[None]:
        """Give the whole tensors of this process memory, as views of them need."""
        try:
            for one, held in self._pairs():
                if one.gathered and one.owner == rank:
                    _allocate(held)
            yield
        finally:
            for one, held in self._pairs():
                if one.gathered:
                    _release(held)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Put the parameters of the model back into the groups for a while."""
        self._put([[one.parameter for one in group] for group in self._placed()])
        try:
            yield
        finally:
            self._put(self._held)

    def _put(self, params: list[Any]) -> None:
        for group, own in zip(self.param_groups, params, strict=True):
            group["params"] = own

    @contextmanager
    def _inside(self, *, gradients: bool) -> Iterator[None]:
        """Give the optimizer inside the weights and gradients that it updates, and take the weights back."""
        self._placed()
        self._collect(gradients=gradients)
        try:
            with self._swapped():
                yield
            self._spread()
        finally:
            for one, held in self._pairs():
                held.grad = None
                if one.gathered:
                    _release(held)

    def _collect(self, *, gradients: bool) -> None:
        """Fill the plain tensors of this process."""
        rank = dist.get_rank(self._group)
        elsewhere = set()
        weights, grads, copies = [], [], []
        for one, held in self._pairs():
            part = local_part(one.parameter)
            grad = local_part(one.parameter.grad) if gradients and one.parameter.grad is not None else None
            if not one.gathered:
                held.data = part  # FSDP may have replaced it
                held.grad = grad if part.numel() and one.owner in (None, rank) else None
            if one.owner is None or (gradients and grad is None):
                continue
            if one.owner != rank and grad is not None:
                elsewhere.add(held)
            if not one.gathered:
                copies.append(Transfer(one.parts, one.owner, one.parts.part(part, rank), part))
                continue
            if one.owner == rank:
                _allocate(held)
            weights.append(Transfer(one.parts, one.owner, part, held.data))
            if grad is not None:
                full = grad.new_empty(one.parts.shape if one.owner == rank else ())
                grads.append(Transfer(one.parts, one.owner, grad, full))
                held.grad = full if one.owner == rank else None
        self._transfers = weights + copies
        self.bytes_sent += gather(weights) + gather(grads)
        if hasattr(self.inner, "moved_elsewhere"):
            self.inner.moved_elsewhere = frozenset(elsewhere)

    def _spread(self) -> None:
        """Give the new weights back to the processes that hold them."""
        self.bytes_sent += scatter(self._transfers)
        self._transfers = []

    def _sum(self, values: Tensor) -> Tensor:
        dist.all_reduce(values, group=self._group)
        return values


def _empty_like(parameter: Tensor) -> nn.Parameter:
    """Return a plain parameter without elements, which takes the place of one of the model."""
    device = local_part(parameter).device
    return nn.Parameter(torch.empty(0, dtype=parameter.dtype, device=device), parameter.requires_grad)


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, Tensor) else value


def _allocate(held: Tensor) -> None:
    """Give a tensor memory for its shape."""
    held.untyped_storage().resize_(held.numel() * held.element_size())


def _release(held: Tensor) -> None:
    """Free the memory of a tensor and keep its shape."""
    held.untyped_storage().resize_(0)
