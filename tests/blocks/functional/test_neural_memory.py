"""The chunked memory against the token-by-token recurrence with autograd inside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.functional.neural_memory import (
    MemoryGates,
    MemoryState,
    memory_chunk,
    memory_step,
    neural_memory,
)
from ultra_blocks.reference import neural_memory as reference

WIDTH = 4


def drawn(length: int, seed: int, heads: int = 2, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """q, k, v ``(1, T, H, d)`` and theta, eta, alpha ``(1, T, H)``."""
    g = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(1, length, heads, WIDTH, generator=g, dtype=torch.float64) for _ in range(3)]
    vectors[1] = torch.nn.functional.normalize(vectors[1], dim=-1)
    ranges = ((0.0, 0.4), (0.3, 1.0), (0.0, 0.5))
    gates = [
        low + (high - low) * torch.rand(1, length, heads, generator=g, dtype=torch.float64)
        for low, high in ranges
    ]
    return [x.to(dtype).requires_grad_() for x in (*vectors, *gates)]


def logs(theta: Tensor, eta: Tensor, alpha: Tensor) -> MemoryGates:
    return MemoryGates(theta, eta.log(), torch.log1p(-alpha))


def token_by_token(leaves: list[Tensor], chunk_size: int, own: float = 1.0) -> Tensor:
    heads = [
        reference.neural_memory(*(x[0, :, h] for x in leaves), chunk_size, own)[0]
        for h in range(leaves[0].shape[2])
    ]
    return torch.stack(heads, 1)[None]


@given(st.integers(1, 14), st.sampled_from([1, 2, 3, 5, 64]), st.sampled_from([1.0, 0.5]), st.integers(0, 99))
def test_equals_the_recurrence_forward_and_backward(
    length: int, chunk_size: int, own: float, seed: int
) -> None:
    leaves = drawn(length, seed)
    got = neural_memory(*leaves[:3], logs(*leaves[3:]), chunk_size=chunk_size, own=own)
    wanted = token_by_token(leaves, chunk_size, own)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    noise = torch.randn(got.shape, generator=torch.Generator().manual_seed(seed), dtype=got.dtype)
    ours = torch.autograd.grad(got, leaves, noise)
    theirs = torch.autograd.grad(wanted, leaves, noise, allow_unused=True, materialize_grads=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_chunks_of_one_token_are_the_delta_rule() -> None:
    """Without momentum and forgetting, and theta 1/2, a key reads the value that was stored for it last."""
    _, k, v, *_ = drawn(9, 0, heads=1)
    none = torch.zeros(1, 9, 1, dtype=torch.float64)
    gates = MemoryGates(none + 0.5, none - torch.inf, none)
    y = neural_memory(k, k, v, gates, chunk_size=1)
    torch.testing.assert_close(y, v, rtol=0, atol=1e-13)


@pytest.mark.parametrize("chunk_size", [1, 3, 5])
def test_steps_are_the_chunked_form(chunk_size: int) -> None:
    leaves = drawn(11, 1)
    q, k, v = leaves[:3]
    gates = logs(*leaves[3:])
    wanted = neural_memory(q, k, v, gates, chunk_size=chunk_size)
    empty = torch.zeros(1, 2, WIDTH, WIDTH, dtype=torch.float64)
    state = MemoryState(empty, empty, empty, 0)
    for t in range(11):
        now = MemoryGates(*(g[:, t] for g in gates))
        y, state = memory_step(state, q[:, t], k[:, t], v[:, t], now, chunk_size=chunk_size)
        torch.testing.assert_close(y, wanted[:, t], rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 3, 5])
def test_chunk_by_chunk_is_the_chunked_form(chunk_size: int) -> None:
    leaves = drawn(11, 1)
    gates = logs(*leaves[3:])
    wanted = neural_memory(*leaves[:3], gates, chunk_size=chunk_size)
    state = (torch.zeros(1, 2, WIDTH, WIDTH, dtype=torch.float64),) * 2
    outputs = []
    for t in range(0, 11, chunk_size):
        now = slice(t, t + chunk_size)
        part = MemoryGates(*(g[:, now] for g in gates))
        y, *state = memory_chunk(*(x[:, now] for x in leaves[:3]), part, *state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), wanted, rtol=0, atol=1e-12)


def test_neutral_tokens_change_nothing() -> None:
    leaves = drawn(7, 2)
    wanted = neural_memory(*leaves[:3], logs(*leaves[3:]), chunk_size=4)
    padded = [torch.cat((x, torch.ones_like(x[:, :3])), 1) for x in leaves[:3]]
    gates = MemoryGates(*(torch.nn.functional.pad(g, (0, 0, 0, 3)) for g in logs(*leaves[3:])))
    got = neural_memory(*padded, gates, chunk_size=4)[:, :7]
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-14)


def test_a_fresh_chunk_forgets_exactly() -> None:
    leaves = drawn(9, 3)
    fresh = torch.tensor([[True, False, True]])
    got = neural_memory(*leaves[:3], logs(*leaves[3:]), chunk_size=3, fresh=fresh)
    parts = [[x[:, s] for x in leaves] for s in (slice(0, 6), slice(6, 9))]
    alone = torch.cat([neural_memory(*p[:3], logs(*p[3:]), chunk_size=3) for p in parts], 1)
    torch.testing.assert_close(got, alone, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(got[:, 6:].sum(), leaves[1])
    assert not gradient[:, :6].any()


def test_second_derivatives() -> None:
    leaves = drawn(4, 4, heads=1)

    def read(*given: Tensor) -> Tensor:
        return neural_memory(*given[:3], logs(*given[3:]), chunk_size=2)

    assert torch.autograd.gradcheck(read, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(read, leaves, fast_mode=True)


@pytest.mark.parametrize("log_momentum", [0.0, -1e-4, -200.0, -torch.inf])
@pytest.mark.parametrize("log_kept", [0.0, -1e-4, -200.0, -torch.inf])
def test_extreme_gates_are_finite_and_keep_their_digits(log_momentum: float, log_kept: float) -> None:
    q, k, v = (x.detach() for x in drawn(150, 5, heads=1)[:3])
    ones = torch.ones(1, 150, 1, dtype=torch.float64)
    gates = [1e-3 * ones, log_momentum * ones, log_kept * ones]
    gates[1][:, 10], gates[2][:, 20] = -300.0, -300.0
    exact = neural_memory(q, k, v, MemoryGates(*gates), chunk_size=64)
    leaves = [x.float().requires_grad_() for x in (q, k, v, *gates)]
    y = neural_memory(*leaves[:3], MemoryGates(*leaves[3:]), chunk_size=64)
    assert (y - exact).abs().max() < 1e-4 * exact.abs().max()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), leaves))
