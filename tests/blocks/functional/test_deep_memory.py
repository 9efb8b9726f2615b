"""The chunked memory of two layers against the token-by-token recurrence with autograd inside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.functional.deep_memory import deep_memory, deep_memory_chunk, deep_memory_step
from ultra_blocks.functional.neural_memory import MemoryGates, MemoryState
from ultra_blocks.reference import neural_memory as reference

WIDTH, BETWEEN, HEADS = 3, 5, 2


def drawn(length: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """q, k, v ``(1, T, H, d)`` with theta, eta, alpha ``(1, T, H)``, and the first weights."""
    g = torch.Generator().manual_seed(seed)
    exact = {"generator": g, "dtype": torch.float64}
    vectors = [torch.randn(1, length, HEADS, WIDTH, **exact) for _ in range(3)]
    vectors[1] = torch.nn.functional.normalize(vectors[1], dim=-1)
    ranges = ((0.0, 0.4), (0.3, 1.0), (0.0, 0.5))
    gates = [low + (high - low) * torch.rand(1, length, HEADS, **exact) for low, high in ranges]
    weights = [torch.randn(HEADS, *shape, **exact) for shape in ((WIDTH, BETWEEN), (BETWEEN, WIDTH))]
    return [x.requires_grad_() for x in (*vectors, *gates)], [x.requires_grad_() for x in weights]


def gates_of(leaves: list[Tensor]) -> MemoryGates:
    theta, eta, alpha = leaves[3:]
    return MemoryGates(theta, eta.log(), torch.log1p(-alpha))


def packed(weights: list[Tensor]) -> Tensor:
    return torch.stack((weights[0], weights[1].mT), 1)


def whole(leaves: list[Tensor], weights: list[Tensor], **options: object) -> Tensor:
    return deep_memory(*leaves[:3], gates_of(leaves), packed(weights), **options)


@given(st.integers(1, 11), st.sampled_from([1, 2, 3, 5, 64]), st.sampled_from([1.0, 0.5]), st.integers(0, 99))
def test_equals_the_recurrence_forward_and_backward(
    length: int, chunk_size: int, own: float, seed: int
) -> None:
    leaves, weights = drawn(length, seed)
    got = whole(leaves, weights, chunk_size=chunk_size, own=own)
    heads = [
        reference.neural_memory(
            *(x[0, :, h] for x in leaves), chunk_size, own, start=(weights[0][h], weights[1][h])
        )[0]
        for h in range(HEADS)
    ]
    wanted = torch.stack(heads, 1)[None]
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    noise = torch.randn(got.shape, generator=torch.Generator().manual_seed(seed), dtype=got.dtype)
    ours = torch.autograd.grad(got, [*leaves, *weights], noise)
    theirs = torch.autograd.grad(
        wanted, [*leaves, *weights], noise, allow_unused=True, materialize_grads=True
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("chunk_size", [1, 3, 5])
def test_steps_are_the_chunked_form(chunk_size: int) -> None:
    leaves, weights = drawn(11, 1)
    wanted = whole(leaves, weights, chunk_size=chunk_size)
    empty = torch.zeros(1, HEADS, 2, WIDTH, BETWEEN, dtype=torch.float64)
    state = MemoryState(empty, empty, empty, 0)
    for t in range(11):
        now = MemoryGates(*(g[:, t] for g in gates_of(leaves)))
        given = [x[:, t] for x in leaves[:3]]
        y, state = deep_memory_step(state, *given, now, packed(weights), chunk_size=chunk_size)
        torch.testing.assert_close(y, wanted[:, t], rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 3, 5])
def test_chunk_by_chunk_is_the_chunked_form(chunk_size: int) -> None:
    leaves, weights = drawn(11, 1)
    wanted = whole(leaves, weights, chunk_size=chunk_size)
    state = (torch.zeros(1, HEADS, 2, WIDTH, BETWEEN, dtype=torch.float64),) * 2
    outputs = []
    for t in range(0, 11, chunk_size):
        now = slice(t, t + chunk_size)
        part = MemoryGates(*(g[:, now] for g in gates_of(leaves)))
        y, *state = deep_memory_chunk(*(x[:, now] for x in leaves[:3]), part, packed(weights), *state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), wanted, rtol=0, atol=1e-12)


def test_neutral_tokens_behind_change_nothing() -> None:
    leaves, weights = drawn(7, 2)
    wanted = whole(leaves, weights, chunk_size=4)
    behind = [torch.cat((x, torch.ones_like(x[:, :3])), 1) for x in leaves[:3]]
    gates = MemoryGates(*(torch.nn.functional.pad(g, (0, 0, 0, 3)) for g in gates_of(leaves)))
    got = deep_memory(*behind, gates, packed(weights), chunk_size=4)[:, :7]
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-14)


def test_a_fresh_chunk_forgets_exactly() -> None:
    leaves, weights = drawn(9, 3)
    fresh = torch.tensor([[True, False, True]])
    got = whole(leaves, weights, chunk_size=3, fresh=fresh)
    parts = [[x[:, s] for x in leaves] for s in (slice(0, 6), slice(6, 9))]
    alone = torch.cat([whole(part, weights, chunk_size=3) for part in parts], 1)
    torch.testing.assert_close(got, alone, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(got[:, 6:].sum(), leaves[1])
    assert not gradient[:, :6].any()


def test_second_derivatives() -> None:
    leaves, weights = drawn(4, 4)

    def read(*given: Tensor) -> Tensor:
        return whole(list(given[:6]), list(given[6:]), chunk_size=2)

    assert torch.autograd.gradcheck(read, [*leaves, *weights], fast_mode=True)
    assert torch.autograd.gradgradcheck(read, [*leaves, *weights], fast_mode=True)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_large_values_do_not_run_away(scale: float) -> None:
    """The output of the memory has length 1, so that its gradient shrinks as its weights grow."""
    leaves, weights = drawn(600, 5)
    leaves[2] = leaves[2] * scale
    y = whole(leaves, weights, chunk_size=16)
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), [*leaves, *weights]))
