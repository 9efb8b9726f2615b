"""Default numbers of heads."""

import pytest
import torch

import ultra_blocks
from ultra_blocks.mixers.heads import grouped_heads, number_of_heads
from ultra_core import blocks
from ultra_core.plugins.signatures import read_options

HEADED = [name for name in blocks.names() if "num_heads" in read_options(blocks.get(name))]


@pytest.mark.parametrize(
    ("hidden_size", "heads"),
    [(128, 2), (256, 4), (512, 8), (768, 12), (1024, 16), (48, 1), (96, 2), (100, 2), (97, 1), (1, 1)],
)
def test_heads_are_as_close_to_64_as_a_divisor_allows(hidden_size, heads) -> None:
    """The first five are the sizes of BERT, with its numbers of heads."""
    assert number_of_heads(None, hidden_size) == heads


def test_heads_of_even_width_are_preferred() -> None:
    assert number_of_heads(None, 126) == 3  # 2 heads of 63 would be closer
    assert number_of_heads(None, 63 * 65) == 63


def test_a_given_number_is_kept() -> None:
    assert number_of_heads(3, 100) == 3
    assert number_of_heads(0, 100) == 0


@pytest.mark.parametrize(("multiple_of", "heads"), [(1, 4), (2, 4), (8, 8), (16, 16), (3, 4)])
def test_multiples_where_the_width_has_some(multiple_of, heads) -> None:
    assert number_of_heads(None, 256, multiple_of=multiple_of) == heads


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((None, None), (8, 2)),
        ((None, 8), (8, 8)),
        ((None, 16), (16, 16)),
        ((6, None), (6, 1)),
        ((4, 2), (4, 2)),
    ],
)
def test_key_heads(given, found) -> None:
    assert grouped_heads(*given, 512) == found


@pytest.mark.parametrize("name", HEADED)
@pytest.mark.parametrize("hidden_size", [36, 48, 96, 100, 768])
@pytest.mark.parametrize("causal", [False, True])
def test_every_block_has_a_default_that_divides(name, hidden_size, causal) -> None:
    with torch.device("meta"):
        block = ultra_blocks.build(name, hidden_size, causal=causal)
        heads = getattr(block, "attention", block).num_heads
        explicit = ultra_blocks.build(name, hidden_size, causal=causal, num_heads=heads)
    assert hidden_size % heads == 0
    shapes = [{key: value.shape for key, value in b.state_dict().items()} for b in (block, explicit)]
    assert shapes[0] == shapes[1]
    with pytest.raises(ValueError, match="heads"):
        ultra_blocks.build(name, hidden_size, causal=causal, num_heads=7)


def test_split_retention_gets_an_even_number() -> None:
    block = ultra_blocks.build("retnet", 100, bidirectional_form="split")
    assert isinstance(block, ultra_blocks.RetNet)
    assert block.num_heads == 2
