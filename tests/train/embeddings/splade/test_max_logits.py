from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ultra_train.embeddings.splade.max_logits import chunks, max_logits


def inputs(dtype=torch.float64, rows=3, length=7, width=5, tokens=11):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(rows, length, width, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(tokens, width, generator=generator, dtype=dtype).requires_grad_()
    bias = torch.randn(tokens, generator=generator, dtype=dtype).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [1] * 7, [0, 0, 1, 1, 1, 0, 1]]).bool()
    return hidden, weight, bias, mask[:rows]


def reference(hidden, weight, bias, mask):
    return F.linear(hidden, weight, bias).masked_fill(~mask[..., None], float("-inf")).amax(1)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_those_of_all_logits(chunk, biased):
    hidden, weight, bias, mask = inputs()
    trained = [hidden, weight, bias] if biased else [hidden, weight]
    given = bias if biased else None
    expected, found = reference(hidden, weight, given, mask), max_logits(hidden, weight, given, mask, chunk)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    factors = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)
    factors[:, 4] = 0  # what a ReLU behind it lets through
    for a, b in zip(
        torch.autograd.grad((found * factors).sum(), trained),
        torch.autograd.grad((expected * factors).sum(), trained),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_only_what_is_trained_gets_a_gradient():
    hidden, weight, bias, mask = inputs()
    weight.requires_grad_(False)
    max_logits(hidden, weight, bias, mask, 2).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None
    assert not hidden.grad[0, 3:].any(), "padding gets none"


def test_a_row_of_padding_and_logits_that_are_not_numbers():
    hidden, weight, bias, mask = inputs()
    mask[0] = False
    with torch.no_grad():
        hidden[1, 0, 0] = float("nan")
    found = max_logits(hidden, weight, bias, mask, 2)
    assert (found[0] == float("-inf")).all()
    assert found[1].isnan().all(), "a guard must see it, although later chunks have numbers"
    found.relu().log1p()[[0, 2]].sum().backward()
    assert not hidden.grad[0].any()


def test_under_autocast_it_multiplies_in_half_precision_and_sums_gradients_in_single():
    hidden, weight, bias, mask = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = max_logits(hidden, weight, bias, mask, 3)
        expected = reference(hidden, weight, bias, mask)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    found.float().sum().backward()
    assert weight.grad.dtype == torch.float32


def test_chunks_skip_padding():
    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]).bool()
    (start, some, real), (later, rest, last) = chunks(mask, 2)
    assert (start, some, real) == (0, None, None)
    assert (later, rest.tolist(), last.tolist()) == (2, [1], [[True, False]])
