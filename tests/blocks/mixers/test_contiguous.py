"""Blocks that move padding to the end of a row: padding at any place, in rows longer than a chunk."""

import pytest
import torch

from support.padding import check_padding
from support.tensors import normal, randomise
from ultra_blocks.mixers.contiguous import ContiguousMixer
from ultra_blocks.mixers.deltanet import DeltaNet
from ultra_blocks.mixers.gated_deltanet import GatedDeltaNet
from ultra_blocks.mixers.gla import GLA
from ultra_blocks.mixers.hgrn2 import HGRN2
from ultra_blocks.mixers.kda import KDA
from ultra_blocks.mixers.mamba import Mamba
from ultra_core import blocks

HEADS = {"num_heads": 2}
BLOCKS = {
    DeltaNet: HEADS,
    GatedDeltaNet: HEADS,
    GLA: HEADS,
    HGRN2: HEADS,
    KDA: HEADS,
    Mamba: {"head_size": 4, "state_size": 6},
}


def test_all_such_blocks_are_tested():
    classes = [blocks.get(name) for name in blocks.names()]
    assert {cls for cls in classes if issubclass(cls, ContiguousMixer)} == BLOCKS.keys()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "holes", [[0, 1, 2], [20, 19], [0, 3, 4, 5, 11, 20], [3, 4, 5, 11, 12], list(range(1, 21))]
)
@pytest.mark.parametrize("cls", BLOCKS)
def test_outputs_and_gradients_do_not_depend_on_padding(cls, holes, causal):
    torch.manual_seed(0)
    block = randomise(cls(8, chunk_size=4, causal=causal, **BLOCKS[cls]).double())
    x = normal((1, 21, 8), seed=1)
    check_padding(block, x, holes)
