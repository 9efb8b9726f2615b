"""The short convolution against torch's own, document by document, and token by token."""

import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.functional import conv
from ultra_blocks.functional.conv import depthwise_conv, depthwise_conv_step

E = 6


def draw(kernel, length=13, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = ((2, length, E), (E, 1, kernel), (E,))
    return [torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in shapes]


def plain(x, weight, bias, causal):
    kernel = weight.shape[-1]
    left = kernel - 1 if causal else kernel // 2
    rows = F.pad(x.transpose(1, 2), (left, kernel - 1 - left))
    return F.conv1d(rows, weight, bias, groups=E).transpose(1, 2)


@pytest.mark.parametrize(("kernel", "causal"), [(1, False), (3, False), (7, False), (1, True), (4, True)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_is_a_depthwise_convolution(kernel, causal, with_bias):
    x, weight, bias = draw(kernel)
    bias = bias if with_bias else None
    inputs = [y for y in (x, weight, bias) if y is not None]
    one = torch.zeros(2, 13, dtype=torch.long)
    theirs = plain(x, weight, bias, causal)
    for documents in (None, one):
        ours = depthwise_conv(x, weight, bias, causal=causal, documents=documents)
        assert (ours - theirs).abs().max() < 1e-14
        for a, b in zip(
            torch.autograd.grad(ours.square().sum(), inputs),
            torch.autograd.grad(theirs.square().sum(), inputs, retain_graph=True),
            strict=True,
        ):
            assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("piece", [1, 24, 30])
@pytest.mark.parametrize(("kernel", "causal"), [(3, False), (4, True)])
def test_the_weight_learns_piece_by_piece(kernel, causal, piece, monkeypatch):
    x, weight, _ = draw(kernel)
    (theirs,) = torch.autograd.grad(plain(x, weight, None, causal).square().sum(), weight)
    monkeypatch.setattr(conv, "PIECE", piece)  # numbers: less than a token, 4 and 5 tokens of 13
    ours = depthwise_conv(x, weight, None, causal=causal)
    (ours,) = torch.autograd.grad(ours.square().sum(), weight)
    assert (ours - theirs).abs().max() < 1e-12


@pytest.mark.parametrize(("kernel", "causal"), [(7, False), (4, True)])
def test_documents_are_strangers(kernel, causal):
    x, weight, bias = draw(kernel)
    lengths = [1, 2, 1, 6, 3]
    documents = torch.arange(5).repeat_interleave(torch.tensor(lengths)).expand(2, -1)
    ours = depthwise_conv(x, weight, bias, causal=causal, documents=documents)
    alone = [plain(part, weight, bias, causal) for part in x.split(lengths, 1)]
    assert (ours - torch.cat(alone, 1)).abs().max() < 1e-14


@pytest.mark.parametrize("kernel", [1, 4])
def test_steps_are_the_causal_convolution(kernel):
    x, weight, bias = draw(kernel)
    window, outputs = torch.zeros(2, kernel - 1, E, dtype=torch.float64), []
    for x_t in x.unbind(1):
        y, window = depthwise_conv_step(x_t, window, weight, bias)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - plain(x, weight, bias, causal=True)).abs().max() < 1e-14


@pytest.mark.parametrize(("kernel", "causal"), [(5, False), (4, True)])
def test_half_precision_is_rounded_once_in_packed_rows_too(kernel, causal):
    x, weight, _ = (y.detach().bfloat16() for y in draw(kernel))
    documents = torch.zeros(x.shape[:2], dtype=torch.long)
    packed = depthwise_conv(x, weight, None, causal=causal, documents=documents)
    assert torch.equal(packed, depthwise_conv(x, weight, None, causal=causal))
