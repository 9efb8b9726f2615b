"""The regulariser of all processes together."""

import pytest
import torch
from sentence_transformers.sparse_encoder.losses import FlopsLoss

from ultra_train.tasks.sparse import flops
from ultra_train.tasks.sparse.flops import GlobalFlops


def rows(count, seed=0, dimensions=50):
    drawn = torch.rand(count, dimensions, generator=torch.Generator().manual_seed(seed)) - 0.6
    return drawn.relu()


def value_and_gradient(loss, embeddings):
    leaf = embeddings.clone().requires_grad_()
    value = loss.compute_loss_from_embeddings(leaf)
    value.backward()
    return value.detach(), leaf.grad


def test_one_process_has_the_loss_of_the_library():
    for ours, theirs in zip(
        value_and_gradient(GlobalFlops(None), rows(6)),
        value_and_gradient(FlopsLoss(None), rows(6)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (2, 3, 3)])
def test_several_processes_have_the_loss_and_the_gradient_of_one(monkeypatch, sizes):
    """DDP averages what the processes have; each sees the sums of all others."""
    whole = rows(sum(sizes))
    parts = whole.split(sizes)
    own = {}
    monkeypatch.setattr(flops, "processes", lambda: len(sizes))
    for part in parts:
        everything = [torch.cat([p.sum(0), torch.tensor([float(len(p))])]) for p in parts]

        def summed(values, part=part, everything=everything):
            assert torch.equal(values, torch.cat([part.sum(0), torch.tensor([float(len(part))])]))
            return torch.stack(everything).sum(0)

        monkeypatch.setattr(flops, "summed_over_processes", summed)
        own[len(own)] = value_and_gradient(GlobalFlops(None), part)
    value, gradient = value_and_gradient(FlopsLoss(None), whole)
    for found, _ in own.values():
        torch.testing.assert_close(found, value)
    together = torch.cat([grad for _, grad in own.values()]) / len(sizes)
    torch.testing.assert_close(together, gradient)


def test_bf16_representations_are_summed_in_fp32():
    """In bf16 a sum of 30,000 squares is off by several per cent."""
    embeddings = rows(32, dimensions=30_000).bfloat16()
    exact = embeddings.double().mean(0).square().sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = GlobalFlops(None).compute_loss_from_embeddings(embeddings)
        theirs = FlopsLoss(None).compute_loss_from_embeddings(embeddings)
    assert ours.dtype == torch.float32
    assert abs(ours.double() / exact - 1) < 1e-5
    assert abs(theirs.double() / exact - 1) > 1e-4
