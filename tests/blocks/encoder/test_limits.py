"""The encoder refuses batches that one of its blocks does not accept, by the name of the block."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.encoder import Encoder, UltraConfig
from ultra_blocks.encoder.limits import Limits
from ultra_blocks.layout import Layout
from ultra_blocks.traits import Traits
from ultra_core import blocks


class Plain(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return self.scale * x


class Unpacked(Plain):
    traits: ClassVar[Traits] = Traits(packing=False)


class Short(Plain):
    traits: ClassVar[Traits] = Traits(longest=8)


class Shorter(Plain):
    traits: ClassVar[Traits] = Traits(longest=6)


def config(*pattern: str) -> UltraConfig:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_heads": 4, "retention_heads": 4, "ffn_hidden_size": 24}
    return UltraConfig(**sizes, use_moe=False, num_layers=len(pattern), layer_pattern=pattern)


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    monkeypatch.setattr(blocks, "_added", [])
    for cls in (Plain, Unpacked, Short, Shorter):
        blocks.add(cls.__name__.lower(), cls)
    blocks.add("gone", "no_such_module:Class")


def encode(encoder: Encoder, documents: list[int]) -> Tensor:
    layout = Layout.from_mask(torch.ones(1, len(documents), dtype=torch.bool), torch.tensor([documents]))
    return encoder(torch.zeros(1, len(documents), dtype=torch.long), layout).hidden


def test_rows_of_several_documents_are_refused_by_name():
    encoder = Encoder(config("plain", "unpacked"))
    assert encode(encoder, [0, 0, 0]).shape == (1, 3, 16)
    with pytest.raises(ValueError, match=r"layer 1, the block unpacked, .*packing=False.*batching: length"):
        encode(encoder, [0, 0, 1])


def test_batches_with_too_many_columns_are_refused_by_name():
    encoder = Encoder(config("short", "shorter", "short"))
    encode(encoder, [0] * 6)
    with pytest.raises(ValueError, match=r"layer 1, the block shorter, accepts 6 columns .* batch has 7"):
        encode(encoder, [0] * 7)


@pytest.mark.parametrize("pattern", [("plain",), ("standard_attn", "plain"), ("gone",)])
def test_blocks_without_such_traits_have_no_limits(pattern):
    assert Limits.of(config(*pattern)) == Limits()
