"""No position code (NoPE)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ultra_blocks.positions.base import PositionCode
from ultra_core.plugins.aliases import Alias


class NoPE(PositionCode):
    """No position code: ``score(i, j) = <q_i, k_j>``.

    A causal model still learns positions from the causal mask. An encoder of softmax attention alone does
    not: without a position code it is equivariant to permutations of its tokens. Combine it with layers that
    encode order.

    Paper: Kazemnejad et al. 2023, "The Impact of Positional Encoding on Length Generalization in
    Transformers", arXiv:2305.19466.
    Differs from the paper: nothing.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"none": Alias()}
    kind = "none"
    symmetric = True
    reference: ClassVar = "ultra_blocks.reference.positions:nope"
