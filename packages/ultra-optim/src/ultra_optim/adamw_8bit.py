"""AdamW with moments in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.state_spec import COUNT, tensor_spec
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine import sizes
from ultra_optim.engine.decay import DecayRule, decay_numbers
from ultra_optim.engine.threads import parallel_map
from ultra_optim.families.adam import adam_numbers, adamw_update
from ultra_optim.families.quantised import BLOCK, allocate, dequantize, quantize_


class AdamW8bit(Optimizer):
    """AdamW with block-wise 8-bit moments (Dettmers et al. 2022, arXiv 2110.02861), on CPUs and GPUs.

    The update is that of AdamW, computed in float32 from the moments of the previous step, which are stored
    as codes of a dynamic map with one scale for every 256 of them: see
    :mod:`ultra_optim.families.quantised`.

    Groups of kind ``embedding`` and tensors of fewer than ``min_8bit_size`` elements keep float32 moments.

    Differs from bitsandbytes: a second moment that is not 0 is never rounded to 0, which makes the step of an
    element explode there when its gradient vanishes; embeddings are recognised by the kind of their group; it
    needs no other library.

    State: 0.508n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        min_8bit_size: tensors of fewer elements keep float32 moments.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide",
        gradient_scale="invariant",
        max_update_rms=1.1,
        whole_tensors=True,
        imitates="adamw",
    )
    reference: ClassVar[str] = "ultra_optim.reference.formulas:adamw"
    state_names: ClassVar[frozenset[str]] = frozenset(
        {"step", "exp_avg", "exp_avg_scale", "exp_avg_sq", "exp_avg_sq_scale"}
    )

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.01,
        decay_rule: DecayRule = "plain",
        min_8bit_size: Annotated[int, Range(min=0)] = 4096,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
            "min_8bit_size": min_8bit_size,
        }
        super().__init__(params, defaults, compile=False)

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of the state: codes and scales, or float32 moments."""
        spec: dict[str, Tensor | int] = {"step": COUNT}
        for name in ("exp_avg", "exp_avg_sq"):
            if in_codes(group, parameter, saved):
                codes, scales = allocate(parameter.numel(), torch.device("meta"))
                spec |= {name: codes.view(parameter.shape), f"{name}_scale": scales}
            else:
                spec[name] = tensor_spec(parameter)
        return spec

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        beta1, beta2 = group["betas"]
        decay = decay_numbers(group)
        coded = {p for p in params if in_codes(group, p, self.state[p])}
        for step, same in self.count(params).items():
            numbers = adam_numbers(step, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"])
            plain = [p for p in same if p not in coded]
            if plain:
                moments = self.zeros(plain, "exp_avg"), self.zeros(plain, "exp_avg_sq")
                self.run_update(adamw_update, plain, *moments, **numbers, **decay)
            for p in same:
                if p in coded:
                    self._update_codes(p, **numbers, **decay)

    def _update_codes(self, p: Tensor, **numbers: Any) -> None:
        state, flat = self.state[p], p.reshape(-1)
        grad = p.grad.reshape(-1) if p.grad is not None else flat
        for name in ("exp_avg", "exp_avg_sq"):
            if name not in state:
                codes, state[f"{name}_scale"] = allocate(p.numel(), p.device)
                state[name] = codes.view(p.shape)
        parts = [flat, grad]
        for name in ("exp_avg", "exp_avg_sq"):
            parts += [state[name].view(-1), state[f"{name}_scale"]]
        shares = (1, 1, 1, BLOCK, 1, BLOCK)  # elements for which a part has one number
        length = sizes.TORCH_SLICE if p.device.type == "cpu" else sizes.SCRATCH
        pieces = zip(*(t.split(length // share) for t, share in zip(parts, shares, strict=True)), strict=True)
        parallel_map(lambda piece: update_piece(*piece, **numbers), list(pieces))
        if flat.data_ptr() != p.data_ptr():
            p.copy_(flat.view(p.shape))


def in_codes(group: Mapping[str, Any], parameter: Tensor, state: Mapping[str, Any]) -> bool:
    """Whether the moments are stored in 8 bits, or will be if there are none yet."""
    if "exp_avg" in state:
        return "exp_avg_scale" in state
    return group.get("kind") != "embedding" and parameter.numel() >= group["min_8bit_size"]


def update_piece(
    param: Tensor,
    grad: Tensor,
    first: Tensor,
    first_scale: Tensor,
    second: Tensor,
    second_scale: Tensor,
    **numbers: Any,
) -> None:
    """Apply :func:`ultra_optim.families.adam.adamw_update` in place to flat tensors with moments in codes."""
    wide = param.to(wide_dtype(param))
    m = dequantize(first, first_scale, signed=True).to(wide.dtype)
    v = dequantize(second, second_scale, signed=False).to(wide.dtype)
    adamw_update([wide], [grad.to(wide.dtype)], [m], [v], **numbers)
    quantize_(m, first, first_scale, signed=True)
    quantize_(v, second, second_scale, signed=False)
    if wide is not param:
        param.copy_(wide)
