"""DeltaNet: what its two ranges of write strengths can and cannot do."""

import pytest
import torch

from ultra_blocks.mixers.deltanet import DeltaNet


@pytest.mark.parametrize("negative", [False, True])
def test_negative_eigenvalues_turn_what_stood_there(negative):
    """One key, written again and again: (1 - beta)^t of the first value is left, with either sign."""
    block = DeltaNet(8, num_heads=2, causal=True, negative_eigenvalues=negative).double()
    with torch.no_grad():
        block.beta_proj.weight.fill_(100.0)
    (beta,) = block.gates(torch.ones(1, 5, 8, dtype=torch.float64))[0]
    q = k = torch.eye(4, dtype=torch.float64)[0].expand(1, 5, 2, 4)
    v = torch.zeros(1, 5, 2, 4, dtype=torch.float64)
    v[:, 0] = 1.0
    y = block.scan(q, k, v, [(beta,)], None)[0, :, 0, 0]
    largest = 2.0 if negative else 1.0
    expected = largest * (1 - largest) ** torch.arange(5.0, dtype=torch.float64)
    assert (y - expected).abs().max() < 1e-12
