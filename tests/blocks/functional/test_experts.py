import pytest
import torch

from ultra_blocks.functional.experts import (
    GROUPED,
    balance_loss,
    can_be_grouped,
    grouped_linear,
    looped_linear,
    route,
    z_loss,
)


def problem(loads, dtype, out=16, width=8):
    g = torch.Generator().manual_seed(0)
    loads = torch.tensor(loads)
    x = torch.randn(int(loads.sum()), width, generator=g).to(dtype).requires_grad_()
    weight = torch.randn(len(loads), out, width, generator=g).to(dtype).requires_grad_()
    return x, weight, loads, torch.randn(len(x), out, generator=g).to(dtype)


@pytest.mark.skipif(GROUPED is None, reason="torch has no grouped_mm")
@pytest.mark.parametrize("loads", [[3, 5, 1], [0, 9, 0], [0, 0, 0], [7, 0, 4]])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_the_kernel_is_the_loop(loads, dtype, limit):
    x, weight, loads, noise = problem(loads, dtype)
    assert can_be_grouped(x, weight)
    results = []
    for product in (grouped_linear, looped_linear):
        y = product(x, weight, loads)
        results.append([y, *torch.autograd.grad(y, (x, weight), noise)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == dtype
        torch.testing.assert_close(a, b, rtol=limit, atol=limit)


@pytest.mark.parametrize(
    ("dtype", "out", "width"),
    [(torch.float64, 16, 8), (torch.float32, 6, 8), (torch.float32, 8, 5), (torch.bfloat16, 8, 12)],
)
def test_what_the_kernel_refuses_is_looped(dtype, out, width):
    x, weight, loads, noise = problem([2, 0, 5], dtype, out, width)
    assert not can_be_grouped(x, weight)
    y = grouped_linear(x, weight, loads)
    experts = torch.arange(3).repeat_interleave(loads)
    torch.testing.assert_close(y, (weight[experts] @ x[..., None])[..., 0])
    y.backward(noise)
    assert (weight.grad[1] == 0).all()


def test_weights_that_are_not_aligned_are_looped():
    x, weight, loads, _ = problem([2, 3], torch.float32)
    moved = torch.empty(weight.numel() + 1)[1:].view_as(weight).copy_(weight.detach())
    assert not can_be_grouped(x, moved)
    torch.testing.assert_close(grouped_linear(x, moved, loads), grouped_linear(x, weight, loads))


@pytest.mark.parametrize("width", [8, 5])
def test_autocast_decides_the_dtype(width):
    x, weight, loads, _ = problem([2, 3], torch.float32, width=width)
    with torch.autocast("cpu", torch.bfloat16):
        assert grouped_linear(x, weight, loads).dtype == torch.bfloat16
        assert grouped_linear(x.double(), weight.double(), loads).dtype == torch.float64


def test_routing_by_hand():
    logits = torch.tensor([[1.0, 3.0, 2.0], [4.0, 0.0, 5.0]], dtype=torch.float64)
    routing = route(logits, 2, scale=2.0)
    assert routing.experts.tolist() == [[1, 2], [2, 0]]
    assert routing.order.tolist() == [3, 0, 1, 2]
    assert routing.loads.tolist() == [1, 1, 2]
    assert routing.loads.sum() == 4
    first = torch.tensor([3.0, 2.0], dtype=torch.float64).softmax(0) * 2
    torch.testing.assert_close(routing.weights[0], first)
    raw = route(logits, 2, sigmoid=True, renormalise=False)
    torch.testing.assert_close(raw.weights[0], torch.tensor([3.0, 2.0], dtype=torch.float64).sigmoid())
    torch.testing.assert_close(raw.probabilities.sum(-1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_extreme_logits_stay_finite(sigmoid, scale):
    logits = (scale * torch.tensor([[-1.0, -2.0, -1.0], [-3.0, 2.0, 1.0]])).requires_grad_()
    routing = route(logits, 2, sigmoid=sigmoid)
    loss = routing.weights.sum() + balance_loss(routing) + z_loss(routing)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()
