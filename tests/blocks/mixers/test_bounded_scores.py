"""Soft cap and QK-norm: options of every attention block, the same in all."""

from typing import Any

import pytest
import torch
from torch import nn

import ultra_core
from ultra_blocks.layout import Layout
from ultra_core.plugins.signatures import read_options

SIZES: dict[str, dict[str, Any]] = {
    "bigbird_attn": {"block_size": 2, "random_blocks": 1},
    "longformer_attn": {"window": 4, "global_tokens": 2},
    "nsa_attn": {
        "compress_block": 4,
        "compress_stride": 2,
        "select_block": 4,
        "num_selected": 3,
        "local_blocks": 2,
        "window": 3,
    },
}
"""With these some of the pairs are seen in rows of the length below; the other blocks see all."""

NAMES = [
    name
    for name in ultra_core.blocks.names()
    if ultra_core.blocks.get(name).role == "attention" or name == "ode"  # ode: attention over depth
]


def build(name: str, causal: bool = False, **options: Any) -> nn.Module:
    block = ultra_core.blocks.get(name)(16, num_heads=2, causal=causal, **SIZES.get(name, {}), **options)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in block.named_parameters():
            drawn = torch.randn(parameter.shape, generator=g)
            parameter.copy_(1 + 0.1 * drawn if "norm" in parameter_name else 0.5 * drawn)
        for buffer_name, buffer in block.named_buffers():
            if buffer_name == "plan_seed":
                buffer.fill_(7)
    return block.double().eval()


def tokens() -> tuple[torch.Tensor, list[Layout]]:
    """Tokens, and two ways in which they can stand in a batch: padded, and packed with padding."""
    x = torch.randn(2, 41, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(41) < torch.tensor([[41], [30]])
    documents = (torch.arange(41) > 25).long().expand(2, -1)
    return x, [Layout.from_mask(mask), Layout.from_mask(mask, documents)]


def test_these_are_all() -> None:
    assert len(NAMES) == 11
    for name in ultra_core.blocks.names():
        options = read_options(ultra_core.blocks.get(name))
        assert ("softcap" in options, "qk_norm" in options) == (name in NAMES,) * 2


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_cap_changes_what_is_read_and_one_that_is_never_reached_does_not(name: str, causal: bool) -> None:
    x, layouts = tokens()
    x.requires_grad_()
    for layout in layouts:
        results = []
        for softcap in (None, 1e7, 0.5):
            torch.manual_seed(0)
            block = build(name, causal, softcap=softcap)
            y = block(x, layout)
            results.append((y, *torch.autograd.grad(y.square().sum(), x)))
        plain, high, low = results
        torch.testing.assert_close(high, plain, rtol=1e-8, atol=1e-8)
        moved = (low[0] - plain[0]).detach().abs().amax(-1)[layout.mask]
        assert float(moved.median()) > 1e-3


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_norms_change_what_is_read_and_all_their_gains_act(name: str, causal: bool) -> None:
    x, layouts = tokens()
    for layout in layouts:
        outputs = []
        for qk_norm in (False, True):
            block = build(name, causal, qk_norm=qk_norm)
            outputs.append(block(x, layout))
        assert float((outputs[1] - outputs[0]).detach()[layout.mask].abs().amax(-1).median()) > 1e-3
        gains = {n: p for n, p in block.named_parameters() if "norm" in n and n != "kv_norm.weight"}
        assert len(gains) >= 2
        outputs[1].square().sum().backward()
        assert all(float(gain.grad.abs().max()) > 1e-6 for gain in gains.values())
