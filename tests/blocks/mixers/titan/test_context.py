"""Memory as context: what it costs, and what becomes of rounding from segment to segment."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ultra_blocks.mixers.titan_attn import TitanAttention


def test_context_takes_time_linear_in_the_length() -> None:
    flops = []
    block = TitanAttention(32, num_heads=2, positions="rope", variant="mac", memory_chunk=8)
    for length in (64, 128):
        with FlopCounterMode(display=False) as counter:
            block(torch.zeros(1, length, 32))
        flops.append(counter.get_total_flops())
    assert flops[1] == pytest.approx(2 * flops[0], rel=0.02)


@pytest.mark.parametrize("causal", [False, True])
def test_errors_do_not_grow_from_segment_to_segment(causal: bool) -> None:
    """Answers of the memory normed one by one multiply an error by 600 and more over 20 segments."""
    torch.manual_seed(0)
    block = TitanAttention(
        32, num_heads=4, variant="mac", memory_chunk=16, causal=causal, positions="rope"
    ).eval()
    with torch.no_grad():
        for p in block.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    x = torch.randn(1, 320, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = block(x)
    block, x = block.double(), x.double()
    with torch.no_grad():
        y, moved = block(x), block(x + 1e-7 * torch.randn_like(x))
    assert (moved - y).norm() < 1e-6 * y.norm()
    assert (half - y).norm() < 0.03 * y.norm()
