"""Eight-bit state: the map, the nearest code, blocks."""

import pytest
import torch

from ultra_optim.families.quantised import (
    BLOCK,
    _nearest,
    allocate,
    dequantize,
    dynamic_map,
    quantize_,
    state_bytes,
)
from ultra_optim.reference.quantised import dynamic_values, round_trip


@pytest.mark.parametrize("signed", [True, False])
def test_the_map_is_that_of_the_definition(signed: bool) -> None:
    values = dynamic_values(signed)
    assert len(values) == 256
    torch.testing.assert_close(
        dynamic_map(signed), torch.tensor(values, dtype=torch.float32), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("signed", [True, False])
def test_the_nearest_code_is_the_one_that_a_search_finds(signed: bool) -> None:
    """Numbers of every decade, the boundaries between codes, and their neighbours."""
    codes = dynamic_map(signed)
    edges = (codes[1:] + codes[:-1]) / 2
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(100_000, generator=generator) * 10 ** (-9 * torch.rand(100_000, generator=generator))
    if signed:
        x = x * torch.where(torch.rand(100_000, generator=generator) < 0.5, -1, 1)
    far = torch.tensor(2.0)
    x = torch.cat([x, edges, torch.nextafter(edges, far), torch.nextafter(edges, -far), codes])
    expected = torch.bucketize(x, edges)
    if not signed:
        x = x.clamp(min=0)
        expected = torch.bucketize(x, edges).clamp(min=1).where(x > 0, 0)
    assert torch.equal(_nearest(x, signed).long(), expected)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("numel", [1, 255, 256, 700])
def test_a_round_trip_is_that_of_the_definition(signed: bool, numel: int) -> None:
    x = torch.randn(numel, generator=torch.Generator().manual_seed(numel))
    x[: numel // 3] *= 1e-4
    x = x if signed else x.square()
    codes, scales = allocate(numel, x.device)
    assert (codes.numel(), scales.numel()) == (numel, -(-numel // BLOCK))
    quantize_(x, codes, scales, signed=signed)
    expected = torch.tensor(round_trip(x.tolist(), signed))
    torch.testing.assert_close(dequantize(codes, scales, signed=signed), expected, rtol=1e-5, atol=1e-12)


def test_new_state_is_zero_and_zeros_stay() -> None:
    codes, scales = allocate(300, torch.device("cpu"))
    assert not dequantize(codes, scales, signed=True).any()
    quantize_(torch.zeros(300), codes, scales, signed=True)
    assert not dequantize(codes, scales, signed=True).any()


def test_an_unsigned_number_beside_a_huge_one_does_not_vanish() -> None:
    x = torch.tensor([1.0, 1e-12, 0.0])
    codes, scales = allocate(3, x.device)
    quantize_(x, codes, scales, signed=False)
    first, tiny, zero = dequantize(codes, scales, signed=False).tolist()
    assert first == 1.0
    assert 0 < tiny < 1e-6
    assert zero == 0.0


def test_bytes() -> None:
    codes, scales = allocate(1000, torch.device("cpu"))
    assert codes.nbytes + scales.nbytes == state_bytes(1000) == 1016
