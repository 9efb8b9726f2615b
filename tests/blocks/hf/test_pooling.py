from __future__ import annotations

import pytest
import torch

from ultra_blocks.hf.pooling import POOLINGS, pool
from ultra_blocks.layout import Layout

MASK = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])


@pytest.mark.parametrize("how", POOLINGS)
def test_rows_and_documents(how):
    states = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    hidden = Layout.from_mask(MASK).zero_padding(states)
    expected = {"cls": lambda x: x[0], "mean": lambda x: x.mean(0), "max": lambda x: x.amax(0)}[how]
    wanted = torch.stack([expected(hidden[0, [1, 2, 4]]), expected(hidden[1]), torch.zeros(4)])
    found = pool(hidden, Layout.from_mask(MASK), how)
    torch.testing.assert_close(found, wanted)
    documents = torch.tensor([[0, 0, 0, 0, 1], [2, 2, 3, 3, 3], [0, 0, 0, 0, 0]])
    parts = [hidden[0, 1:3], hidden[0, 4:], hidden[1, :2], hidden[1, 2:]]
    wanted = torch.stack([expected(part) for part in parts])
    found = pool(hidden, Layout.from_mask(MASK, documents), how)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(x.square().sum(), states, retain_graph=True)[0] for x in (found, wanted)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("how", POOLINGS)
def test_no_columns(how):
    layout = Layout.from_mask(torch.ones(2, 0, dtype=torch.bool))
    assert torch.equal(pool(torch.ones(2, 0, 4), layout, how), torch.zeros(2, 4))
