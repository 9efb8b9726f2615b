"""Known methods without fault, written out, from which those with one fault derive."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from optim.testing.sound import Rate, Sound
from torch import Tensor

from ultra_core.contracts import PARAMETER_KINDS
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.reference.muon import newton_schulz


def wide(p: Tensor) -> Tensor:
    """Return zeros of the shape of a parameter, at least float32."""
    return torch.zeros_like(p, dtype=torch.float32 if p.dtype.itemsize < 4 else p.dtype)


class SoundAdamW(Sound):
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant",
        state_per_element=2,
        max_update_rms=1.1,
        state_dtype="wide",
        imitates="adamw",
    )

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: Rate = 1e-8,
        weight_decay: Rate = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        torch.optim.Optimizer.__init__(self, params, defaults)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            self.start(p, state, group)
        state["step"] += 1
        self.average(state, grad.to(state["exp_avg"].dtype), group)
        self.decay(p, state, group)
        p.sub_(self.direction(state, group).to(p.dtype), alpha=group["lr"])

    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state.update(step=0, exp_avg=wide(p), exp_avg_sq=wide(p))

    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        b1, b2 = group["betas"]
        state["exp_avg"].lerp_(grad, 1 - b1)
        state["exp_avg_sq"].mul_(b2).addcmul_(grad, grad, value=1 - b2)

    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        b1, b2 = group["betas"]
        root = (state["exp_avg_sq"] / (1 - b2 ** state["step"])).sqrt()
        return state["exp_avg"] / (1 - b1 ** state["step"]) / (root + group["eps"])


class SoundLion(Sound):
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", state_per_element=1, max_update_rms=1.0, imitates="lion"
    )

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: Rate = 0.0,
    ) -> None:
        torch.optim.Optimizer.__init__(self, params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        b1, b2 = group["betas"]
        m = self.momentum(p)
        grad = grad.to(m.dtype)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(m.lerp(grad, 1 - b1).sign(), alpha=group["lr"])
        m.lerp_(grad, 1 - b2)


class SoundSGD(Sound):
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        decay="coupled", gradient_scale="linear", state_per_element=1, imitates="sgd_momentum"
    )

    def __init__(
        self, params: Any, lr: Rate = 1e-2, *, momentum: float = 0.9, weight_decay: Rate = 0.0
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        torch.optim.Optimizer.__init__(self, params, defaults)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        buffer = self.momentum(p)
        buffer.mul_(group["momentum"]).add_(grad).add_(p, alpha=group["weight_decay"])
        p.sub_(buffer, alpha=group["lr"])


class SoundMuon(SoundAdamW):
    """Muon for matrices, each row block and expert by itself, and AdamW for all others."""

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", matrix=True, max_update_rms=1.1, state_dtype="wide", imitates="muon"
    )

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: Rate = 1e-8,
        weight_decay: Rate = 0.1,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        torch.optim.Optimizer.__init__(self, params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if param_group.get("kind") not in PARAMETER_KINDS:
            raise ValueError("a group has no kind: use ultra_optim.param_groups or ultra_optim.build")
        super().add_param_group(param_group)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if not self.treats(group):
            super().move(p, grad, group)
            return
        momentum = self.momentum(p)
        grad = grad.to(momentum.dtype)
        momentum.lerp_(grad, 1 - group["momentum"])
        direction = momentum.lerp(grad, 1 - group["momentum"])
        self.in_parts(direction, *self.layout(p, group), lambda part: part.copy_(self.orthogonal(part)))
        self.decay(p, self.state[p], group)
        p.sub_(direction.to(p.dtype), alpha=group["lr"])

    def treats(self, group: dict[str, Any]) -> bool:
        return group["kind"] in ("matrix", "expert")

    def layout(self, p: Tensor, group: dict[str, Any]) -> tuple[list[int], int | None]:
        index = next(i for i, q in enumerate(group["params"]) if q is p)
        blocks = group["row_blocks"][index] if group.get("row_blocks") else []
        expert_dim = group["expert_dim"][index] if group.get("expert_dim") else None
        return list(blocks), 0 if expert_dim is None and p.ndim == 3 else expert_dim

    def in_parts(
        self, t: Tensor, blocks: list[int], expert_dim: int | None, do: Callable[[Tensor], Any]
    ) -> None:
        for part in t.split(blocks or [len(t)]) if expert_dim is None else t.unbind(expert_dim):
            do(part)

    def orthogonal(self, part: Tensor) -> Tensor:
        return self.factor(*part.shape) * newton_schulz(part)

    def factor(self, rows: int, columns: int) -> float:
        return 0.2 * math.sqrt(max(rows, columns))


class SoundAdafactor(Sound):
    """Adafactor, factored for matrices."""

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", max_update_rms=1.0, whole_tensors=True, imitates="adafactor"
    )

    def __init__(
        self, params: Any, lr: Rate = 1e-3, *, beta2_decay: float = -0.8, weight_decay: Rate = 0.0
    ) -> None:
        defaults = {"lr": lr, "beta2_decay": beta2_decay, "weight_decay": weight_decay}
        torch.optim.Optimizer.__init__(self, params, defaults)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, grad = self.state[p], grad.to(wide(p).dtype)
        state["step"] = state.get("step", 0) + 1
        squares, weight = grad.square() + 1e-30, state["step"] ** group["beta2_decay"]
        if p.ndim == 2:
            row = state.setdefault("row", torch.zeros_like(squares[:, 0])).lerp_(squares.mean(1), weight)
            column = state.setdefault("column", torch.zeros_like(squares[0])).lerp_(squares.mean(0), weight)
            second = self.outer(row, column)
        else:
            second = state.setdefault("second", torch.zeros_like(squares)).lerp_(squares, weight)
        update = grad / second.sqrt()
        update = update / update.square().mean().sqrt().clamp_min(1.0)
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.to(p.dtype), alpha=group["lr"])

    def outer(self, row: Tensor, column: Tensor) -> Tensor:
        return torch.outer(row / row.mean(), column)


CLASSES = (SoundAdamW, SoundLion, SoundSGD, SoundMuon, SoundAdafactor)
