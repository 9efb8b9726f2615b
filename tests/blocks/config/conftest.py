"""Toy plugins for tests of model configs."""

from types import SimpleNamespace
from typing import Annotated

import pytest

from ultra_core import blocks, ffns
from ultra_core.contracts import FromModel


class Block:
    traits = SimpleNamespace(causal=False, positions=("rotate",))

    def __init__(
        self,
        hidden_size: int,
        *,
        heads: Annotated[int, FromModel("num_heads")] = 1,
        groups: Annotated[int | None, FromModel("num_kv_heads")] = None,
        positions: Annotated[str | dict[str, dict[str, int]], FromModel("positions")] = "rope",
        state_size: int = 4,
    ) -> None: ...


class Recurrent:
    def __init__(
        self, hidden_size: int, *, heads: Annotated[int, FromModel("retention_heads")] = 1
    ) -> None: ...


class Gateless:
    def __init__(self, hidden_size: int, ffn_hidden_size: int, *, power: int = 2) -> None: ...


class Mixture:
    def __init__(
        self, hidden_size: int, ffn_hidden_size: int, *, expert: str | dict[str, dict[str, str]] = "mlp"
    ) -> None: ...


@pytest.fixture
def toy_plugins(monkeypatch):
    monkeypatch.setattr(blocks, "_added", [])
    monkeypatch.setattr(ffns, "_added", [])
    blocks.add("block", Block)
    blocks.add("recurrent", Recurrent)
    blocks.add("broken", "no_such_module:Class")
    ffns.add("gateless", Gateless)


@pytest.fixture
def mixture_plugin():
    if "moe" not in ffns:
        ffns.add("moe", Mixture)
