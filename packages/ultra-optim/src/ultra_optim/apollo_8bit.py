"""APOLLO with moments in 8 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from ultra_core.plugins.aliases import Alias
from ultra_optim.apollo import APOLLO
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.families.matrices import ADAMW_STATE
from ultra_optim.families.quantised import BLOCK, dequantize, quantize_
from ultra_optim.families.stacks import Stack

MOMENTS = {"low_avg": True, "low_avg_sq": False}
"""Names of the moments, and whether they are signed."""


class APOLLO8bit(APOLLO):
    """APOLLO (Zhu et al. 2025, arXiv 2412.05270) with block-wise 8-bit moments (arXiv 2110.02861).

    The update is that of APOLLO, computed from the moments of the previous step, which are stored as codes of
    a dynamic map with one scale for every 256 of them: see :mod:`ultra_optim.families.quantised`. The state
    of a matrix of sides m >= n is 2 m r (1 + 4/256) bytes instead of 8 m r. The AdamW part keeps float32
    state: a few vectors, and embeddings and heads, for which 8 bits are least accurate.

    Differs from the paper: its Q-APOLLO quantises the weights instead of the moments and needs a model that
    is trained in int8; this optimizer does not quantise weights.

    State: 0.508 rank longer + 1. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("apollo_8bit", model)`` calls.
        lr: learning rate.
        betas: decay rates of the moments, in both parts.
        eps: added to the denominator, in both parts.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        rank: columns r of the projection, at most n.
        update_interval: number of steps between two draws of the projection.
        scale: the update is multiplied by its square root.
        scale_type: one scale for each row (``channel``) or for the matrix (``tensor``).
        proj_type: the side of G that is projected, see :class:`ultra_optim.apollo.APOLLO`.
        scale_front: multiply by the root of ``scale`` before the norm-growth limiter instead of after it.
        disable_nl: disable the norm-growth limiter.
        seed: seed of the random numbers.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {
        "q_apollo": Alias(remark="its states are quantised, not the weights")
    }
    traits: ClassVar[OptimizerTraits] = attrs.evolve(APOLLO.traits, imitates="apollo")
    reference: ClassVar[str] = "ultra_optim.testing.seeded_references:apollo_8bit"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {
        "step", "low_avg", "low_avg_scale", "low_avg_sq", "low_avg_sq_scale", "length",
    }  # fmt: skip
    dtypes: ClassVar[Mapping[str, torch.dtype]] = {
        "low_avg": torch.uint8,
        "low_avg_scale": torch.float32,
        "low_avg_sq": torch.uint8,
        "low_avg_sq_scale": torch.float32,
    }

    @classmethod
    def matrix_state(cls, group: Mapping[str, Any], rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of codes and scales and of the norm of the last update."""
        shapes = super().matrix_state(group, rows, columns)
        for name in ("low_avg", "low_avg_sq"):
            shapes[f"{name}_scale"] = (-(-math.prod(shapes[name]) // BLOCK),)
        return shapes

    def normed(self, group: Mapping[str, Any], stack: Stack, low: Tensor) -> Tensor:
        """Update the moments and return N, computed from the moments before they are quantised."""
        first, second = (decode(stack, name, signed).to(low.dtype) for name, signed in MOMENTS.items())
        moments = {"low_avg": first, "low_avg_sq": second}
        normed = super().normed(group, attrs.evolve(stack, state=moments), low)
        for name, signed in MOMENTS.items():
            for one, codes, scales in zip(moments[name], stack[name], stack[f"{name}_scale"], strict=True):
                quantize_(one.reshape(-1), codes.view(-1), scales, signed=signed)
        return normed


def decode(stack: Stack, name: str, signed: bool) -> Tensor:
    """Return the float32 values of quantised moments; each matrix has its own blocks."""
    pairs = zip(stack[name], stack[f"{name}_scale"], strict=True)
    return torch.stack([dequantize(c.view(-1), s, signed=signed).view(c.shape) for c, s in pairs])
