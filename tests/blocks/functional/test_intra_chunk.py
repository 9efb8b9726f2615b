"""Products between tokens whose channels decay one by one, against sums written out."""

import pytest
import torch

from ultra_blocks.functional.intra_chunk import decayed_products


def draw(size, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, size, 5, generator=g, dtype=dtype).requires_grad_() for _ in range(2))
    return q, k, (-3 * torch.rand(2, 3, size, 5, generator=g, dtype=dtype)).requires_grad_()


def plain(q, k, log_decay, reverse=False):
    """Every exponent is a sum of its own."""
    size = q.shape[-2]
    if reverse:
        scores, overlap, *vectors = plain(*(x.flip(-2) for x in (q, k, log_decay)))
        return scores.flip(-1, -2), overlap.flip(-1, -2), *(x.flip(-2) for x in vectors)
    queries, keys = q.new_zeros(*q.shape[:-1], size), q.new_zeros(*q.shape[:-1], size)
    for i in range(size):
        for j in range(i + 1):
            faded = k[..., j, :] * log_decay[..., j + 1 : i + 1, :].sum(-2).exp()
            queries[..., i, j] = (q[..., i, :] * faded).sum(-1)
            if j < i:
                keys[..., i, j] = (k[..., i, :] * faded).sum(-1)
    until = torch.stack([log_decay[..., : i + 1, :].sum(-2) for i in range(size)], -2).exp()
    beyond = torch.stack([log_decay[..., j + 1 :, :].sum(-2) for j in range(size)], -2).exp()
    return queries, keys, q * until, k * until, k * beyond


@pytest.mark.parametrize("size", [1, 2, 8, 16])
@pytest.mark.parametrize("reverse", [False, True])
def test_products_are_sums_over_channels(size, reverse):
    inputs = draw(size)
    ours, theirs = decayed_products(*inputs, reverse=reverse), plain(*inputs, reverse)
    total = [sum((x * torch.linspace(1, 2, x[0].numel()).view(x[0].shape)).sum() for x in found)
             for found in (ours, theirs)]  # fmt: skip
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-13
    for a, b in zip(*(torch.autograd.grad(x, inputs) for x in total), strict=True):
        assert (a - b).abs().max() < 1e-11


@pytest.mark.parametrize("reverse", [False, True])
def test_each_output_has_its_own_gradient(reverse):
    inputs = draw(4)
    for place in range(5):
        ours, theirs = decayed_products(*inputs, reverse=reverse)[place], plain(*inputs, reverse)[place]
        grads = [
            torch.autograd.grad(x.square().sum(), inputs, allow_unused=True, materialize_grads=True)
            for x in (ours, theirs)
        ]
        for a, b in zip(*grads, strict=True):
            assert (a - b).abs().max() < 1e-12


@pytest.mark.parametrize("strongest", [-1e2, -1e6, float("-inf")])
def test_a_strong_decay_costs_its_neighbours_no_digits(strongest):
    """Cumulative sums of such decays would have no digits left for the others."""
    q, k, log_decay = (x.detach() for x in draw(16, torch.float32))
    log_decay[..., [3, 9], :] = strongest
    log_decay.requires_grad_()
    ours = decayed_products(q, k, log_decay)
    theirs = plain(*(x.detach().double() for x in (q, k, log_decay)))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-6 * (b.abs().max() + 1e-9)
    (gradient,) = torch.autograd.grad(sum(x.sum() for x in ours), log_decay)
    assert gradient.isfinite().all()
