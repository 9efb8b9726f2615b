"""AdamW: torch's implementation, fused by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.contract.checks import (
    Beta,
    Checked,
    Epsilon,
    LearningRate,
    WeightDecay,
    check_hyperparameters,
    materialized,
    tensors_in,
)
from ultra_optim.contract.state_spec import tensor_spec
from ultra_optim.contract.tensor_numbers import plain, tensors_of
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.families.adam import can_fuse, same_layout


class AdamW(Checked, torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), by ``torch.optim.AdamW``.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    p <- (1 - lr wd) p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Differs from the paper: weight decay is multiplied by the learning rate, as in torch. The state of
    low-precision parameters has their dtype, as in torch: keep weights in float32.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment; torch's default. (0.9, 0.98) is common for masked
            language models.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        amsgrad: divide by the root of the largest second moment so far.
        fused: use one kernel for the whole update; None uses it where all parameters allow it.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True, gradient_scale="invariant", state_per_element=2, max_update_rms=1.1
    )
    reference: ClassVar[str] = "ultra_optim.reference.formulas:adamw"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.01,
        decay_rule: DecayRule = "plain",
        amsgrad: bool = False,
        fused: bool | None = None,
    ) -> None:
        params = materialized(params)
        if fused is None and can_fuse(tensors_in(params)):
            fused = True
        options: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
        }
        check_hyperparameters(AdamW, {**options, "decay_rule": decay_rule})
        self._decay_rule = decay_rule
        self._withheld: list[tuple[dict[str, Any], dict[str, Any]]] = []
        super().__init__(params, fused=fused, **options)
        self.defaults["decay_rule"] = decay_rule
        self._attach()

    def _attach(self) -> None:
        self.watch_steps()
        self.register_step_post_hook(lambda optimizer, args, kwargs: optimizer.restore_groups())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore pickled state; torch does not pickle the hooks."""
        super().__setstate__(state)
        if not self._optimizer_step_pre_hooks:
            self._decay_rule, self._withheld = self.defaults["decay_rule"], []
            self._attach()

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of torch's state."""
        names = self.state_names - {"step"} - (set() if group["amsgrad"] else {"max_exp_avg_sq"})
        spec: dict[str, Tensor | int] = {
            name: tensor_spec(parameter, dtype=parameter.dtype) for name in names
        }
        return {"step": tensor_spec(parameter, (), torch.float32), **spec}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it; see :meth:`ultra_optim.contract.checks.Checked.add_param_group`."""
        super().add_param_group({"decay_rule": self._decay_rule, **param_group})

    @torch.no_grad()
    def prepare(self) -> None:
        """Refuse sparse gradients, avoid the fused kernel where it would be wrong, apply decay rules."""
        self.restore_groups()
        super().prepare()
        for group in self.param_groups:
            self._withhold(group, plain(tensors_of(group)))
            if group["fused"] and not same_layout(group["params"]):
                group["fused"] = None
            if group["decay_rule"] != "plain":
                self._decay(group)
                self._withhold(group, {"weight_decay": 0.0})  # torch's step must not decay once more

    def _decay(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        directions = [
            torch.lerp(self.state[p]["exp_avg"], p.grad, 1 - group["betas"][0]) if self.state[p] else p.grad
            for p in params
        ]
        if params:
            decay_(params, directions, **decay_numbers(group))

    def _withhold(self, group: dict[str, Any], shown: dict[str, Any]) -> None:
        """Show other values of these options to torch's step."""
        self._withheld.append((group, {name: group[name] for name in shown}))
        group.update(shown)

    def restore_groups(self) -> None:
        """Give the groups back the tensors and the weight decay that were hidden from torch's step."""
        while self._withheld:
            group, own = self._withheld.pop()
            group.update(own)
