"""Adam-mini: one second moment for each row of a matrix instead of one for each element."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer, batches, piece_size, wide_dtype
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.state_spec import COUNT, tensor_spec
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.plain import widen
from ultra_optim.engine.threads import parallel_for
from ultra_optim.families.factored import group_vectors, rms_of_each
from ultra_optim.families.matrices import matrix_layout


class AdamMini(Optimizer):
    """Adam-mini (Zhang et al. 2024, arXiv 2406.16793).

    m <- b1 m + (1 - b1) g;  v_B <- b2 v_B + (1 - b2) mean(g^2 over block B)
    p <- (1 - lr wd) p - lr m / (1 - b1^t) / (sqrt(v_B / (1 - b2^t)) + eps)

    A block is a row of a matrix (an output neuron, or a token of an embedding), ``block_rows`` rows if that
    is set, the rows of each expert in a stacked weight, one output channel of a convolution, or the whole of
    a vector.

    Differs from the paper: query and key projections have one block for each row like all other matrices,
    where the paper has one for each head; this is finer and needs no parameter names. For the partition of
    the paper, put them into a group or role with ``block_rows`` set to the head size.
    Differs from the authors' code and pytorch_optimizer: embeddings and heads have one block for each row, as
    in the paper; there they have one for each element.

    State: n + rows. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        block_rows: rows of a block; it is 1 for matrices whose number of rows is not a multiple.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", max_update_rms=1.1, whole_tensors=True
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:adam_mini"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "block_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.1,
        decay_rule: DecayRule = "plain",
        block_rows: Annotated[int, Range(min=1)] = 1,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
            "block_rows": block_rows,
        }
        super().__init__(params, defaults)

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of the state: the momentum, a count, and one number for each block."""
        count = count_blocks(parameter, group["block_rows"], _expert_dims(group).get(parameter))
        return {
            "step": COUNT,
            "exp_avg": tensor_spec(parameter),
            "block_avg_sq": tensor_spec(parameter, (count,)),
        }

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        beta1, beta2 = group["betas"]
        experts = _expert_dims(group)
        decay = decay_numbers(group)
        for step, same in self.count(params).items():
            numbers = {
                "step": step, "lr": group["lr"], "beta1": beta1, "beta2": beta2, "eps": group["eps"], **decay
            }  # fmt: skip
            parallel_for(
                functools.partial(self._update_vectors, **numbers), group_vectors(same), lambda some: some
            )
            for some in batches([p for p in same if p.ndim > 1]):
                self._update_matrices(some, group["block_rows"], experts, **numbers)

    def _update_vectors(self, params: list[Tensor], **numbers: Any) -> None:
        seconds = [self._second_moments(p, 1) for p in params]
        vector_update(params, self.zeros(params, "exp_avg"), seconds, **numbers)

    def _update_matrices(
        self, params: list[Tensor], block_rows: int, experts: Mapping[Tensor, int | None], **numbers: Any
    ) -> None:
        blocks: list[tuple[Tensor, ...]] = []
        for p, momentum in zip(params, self.zeros(params, "exp_avg"), strict=True):
            assert p.grad is not None
            count = count_blocks(p, block_rows, experts[p])
            rows, grads, m = (in_blocks(t, count, experts[p]) for t in (p, p.grad, momentum))
            blocks.append((rows, grads, m, self._second_moments(p, count)))
        found = [piece for columns in blocks for piece in pieces(columns)]
        parallel_for(lambda piece: adam_mini_update(*piece, **numbers), found, lambda piece: piece[:1])
        for p, (rows, _, m, _) in zip(params, blocks, strict=True):
            write_back(p, rows, experts[p])
            write_back(self.state[p]["exp_avg"], m, experts[p])

    def _second_moments(self, p: Tensor, count: int) -> Tensor:
        if "block_avg_sq" not in self.state[p]:
            self.state[p]["block_avg_sq"] = torch.zeros(count, dtype=wide_dtype(p), device=p.device)
        second: Tensor = self.state[p]["block_avg_sq"]
        return second


def _expert_dims(group: Mapping[str, Any]) -> dict[Tensor, int | None]:
    return {p: expert_dim for p, (_, expert_dim) in matrix_layout(group).items()}


def count_blocks(parameter: Tensor, block_rows: int = 1, expert_dim: int | None = None) -> int:
    """Return the number of blocks of a parameter, see :class:`AdamMini`."""
    if parameter.ndim < 2:
        return 1
    if expert_dim is None:
        experts, rows = 1, parameter.shape[0]
    else:
        experts = parameter.shape[expert_dim]
        rows = parameter.shape[1 if expert_dim == 0 else 0]
    return int(experts * (rows // block_rows if rows % block_rows == 0 else rows))


def in_blocks(tensor: Tensor, count: int, expert_dim: int | None) -> Tensor:
    """Return the tensor as ``(block, elements)``, a view where its memory layout allows one."""
    return (tensor.movedim(expert_dim, 0) if expert_dim else tensor).reshape(count, -1)


def write_back(tensor: Tensor, blocks: Tensor, expert_dim: int | None) -> None:
    """Copy the blocks back to their tensor if :func:`in_blocks` had to copy."""
    if blocks.data_ptr() != tensor.data_ptr():
        place = tensor.movedim(expert_dim, 0) if expert_dim else tensor
        place.copy_(blocks.view(place.shape))


def pieces(columns: tuple[Tensor, ...]) -> Iterable[tuple[Tensor, ...]]:
    """Split tensors with the same number of rows by rows, into pieces that fit the cache."""
    limit = piece_size(columns[0])
    if columns[0].numel() <= limit:
        return [columns]
    height = max(1, limit // columns[0].shape[1])
    return zip(*(t.split(height) for t in columns), strict=True)


def adam_mini_update(
    params: Tensor,
    grads: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`AdamMini` in place: rows are blocks, ``second`` is ``(blocks,)``."""
    wide = widen(params)
    grads = grads.to(wide.dtype)
    first.lerp_(grads, 1 - beta1)
    norms = torch.linalg.vector_norm(grads, dim=1)
    second.mul_(beta2).addcmul_(norms, norms, value=(1 - beta2) / grads.shape[1])
    correction = (1 - beta2**step) ** 0.5
    roots = second.sqrt().add_(eps * correction)
    decay_([wide], [first], decay=decay, cautious=cautious)
    wide.addcdiv_(first, roots[:, None], value=-lr * correction / (1 - beta1**step))
    if wide is not params:
        params.copy_(wide)


def vector_update(
    params: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    cautious: bool,
) -> None:
    """Apply the same formula to tensors of one block each."""
    wide = [widen(p) for p in params]
    grads = [p.grad.to(w.dtype) for p, w in zip(params, wide, strict=True) if p.grad is not None]
    torch._foreach_lerp_(first, grads, 1 - beta1)
    joined = torch.cat(second).mul_(beta2).add_(rms_of_each(grads).square_(), alpha=1 - beta2)
    torch._foreach_copy_(second, list(joined.split(1)))
    correction = (1 - beta2**step) ** 0.5
    roots = joined.sqrt_().add_(eps * correction)
    decay_(wide, first, decay=decay, cautious=cautious)
    torch._foreach_addcdiv_(wide, first, list(roots.unbind()), value=-lr * correction / (1 - beta1**step))
    for p, w in zip(params, wide, strict=True):
        if w is not p:
            p.copy_(w)
