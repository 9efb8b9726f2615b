"""What the blocks claim against named peers: for each claim, which works are timed and their ratio."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import block_peers as peers
from torch import nn
from work import Call, Projections, Setting, Work, of_block

from ultra_blocks.layout import Layout
from ultra_core import blocks, ffns
from ultra_core.plugins.signatures import bind


@attrs.frozen
class Claim:
    """A ratio of the seconds of works, and what it has to be."""

    text: str
    bound: str
    works: tuple[Work, ...]
    ratio: Callable[..., float] = operator.truediv

    def holds(self, ratio: float) -> bool:
        """Whether a ratio keeps the bound."""
        sign, number = self.bound.split()
        compare = {"<=": operator.le, ">=": operator.ge, ">": operator.gt}[sign]
        return compare(ratio, float(number))


LINEAR = {
    **dict.fromkeys(("retnet", "mamba", "gla", "hgrn2", "longformer_attn"), "<= 1.3"),
    **dict.fromkeys(("deltanet", "gated_deltanet", "kda"), "<= 1.5"),
}
"""What the time per token may grow by from T = 512 to 4096; Titan's memory is timed apart from its block."""


def growth_claims(times: Mapping[tuple[str, int], float]) -> list[tuple[Claim, float]]:
    """Return what blocks claim about their growth and the ratios, of times of as many tokens each."""
    return [
        (Claim(f"{name}, T = 4096 / T = 512", bound, ()), times[name, 4096] / times[name, 512])
        for name, bound in LINEAR.items()
        if (name, 4096) in times and (name, 512) in times
    ]


def build(setting: Setting, name: str, **options: Any) -> nn.Module:
    """Return a bidirectional block as a model of this width would build it, without dropout."""
    fields = {"num_heads": setting.heads, "retention_heads": setting.heads, "dropout": 0.0}
    supplied = {"hidden_size": setting.width, "causal": False}
    cls = blocks.get(name)
    return cls(**bind(cls, options, supplied=supplied, model=fields))


def work(setting: Setting, name: str, length: int, **options: Any) -> Work:
    """Return the work of a block at a length."""
    module = build(setting, name, **options)
    return Work(setting, module, length, of_block(module))


def a_direction(theirs: float, their_projections: float, ours: float, our_projections: float) -> float:
    """Return their time over the time of one of our two directions, both without projections."""
    return 2 * (theirs - their_projections) / (ours - our_projections)


def attention(setting: Setting, length: int) -> Claim:
    """standard_attn beside the same layer written straight down."""
    bare = peers.BareSDPA(setting.width, setting.heads)
    works = (work(setting, "standard_attn", length), Work(setting, bare, length, bare))
    return Claim(f"standard_attn / bare SDPA layer, T = {length}", "<= 1.05", works)


def sigmoid(setting: Setting, length: int) -> Claim:
    """sigmoid_attn beside standard_attn, whose kernel it does not have."""
    works = (work(setting, "sigmoid_attn", length), work(setting, "standard_attn", length))
    return Claim(f"sigmoid_attn / standard_attn, T = {length}", "<= 1.6", works)


def retention(setting: Setting) -> Claim:
    """Retnet beside softmax attention of the same width."""
    bare = peers.BareSDPA(setting.width, setting.heads)
    works = (Work(setting, bare, 4096, bare), work(setting, "retnet", 4096))
    return Claim("bare SDPA layer / retnet, T = 4096", "> 1", works)


def against_transformers(setting: Setting, name: str, bound: str, length: int = 1024) -> Claim:
    """One direction of a block beside transformers' causal layer of the same sizes."""
    ours = build(setting, name)
    theirs = peers.PEERS[name](setting, ours)
    works = (
        Work(setting, theirs, length, peers.of_transformers(theirs)),
        Projections(setting, theirs, length),
        Work(setting, ours, length, of_block(ours)),
        Projections(setting, ours, length),
    )
    return Claim(f"transformers / {name}, one direction, T = {length}", bound, works, a_direction)


def titan_memory(setting: Setting) -> Claim:
    """Titan's memory: what the length costs."""
    works = []
    for length in (4096, 512):
        memory = build(setting, "titan_attn").memory
        works.append(Work(setting, memory, length, of_memory(memory)))
    return Claim("Titan's memory, T = 4096 / T = 512", "<= 1.5", tuple(works))


def of_memory(memory: nn.Module) -> Call:
    """Call a memory for what its heads read, side by side."""
    return lambda x, mask: memory(x, Layout.from_mask(mask)).flatten(2)


def mixture(setting: Setting, experts: int, top_k: int, bound: str) -> Claim:
    """moe beside a dense FFN of the width that a token meets in it."""
    width = 4 * setting.width

    def ffn(name: str, inner: int, **options: Any) -> Work:
        cls, supplied = ffns.get(name), {"hidden_size": setting.width, "ffn_hidden_size": inner}
        module = cls(**bind(cls, options, supplied=supplied, model={"dropout": 0.0}))
        return Work(setting, module, 512, of_block(module))

    routed = ffn("moe", width // top_k, num_experts=experts, top_k=top_k)
    return Claim(f"moe, {experts} experts, top-{top_k} / dense mlp", bound, (routed, ffn("mlp", width)))


def claims(setting: Setting, names: list[str]) -> Iterator[Claim]:
    """Yield the claims about the chosen blocks; ``moe`` counts as one."""
    chosen: Mapping[str, list[Callable[[], Claim]]] = {
        "standard_attn": [lambda: attention(setting, 512), lambda: attention(setting, 2048)],
        "sigmoid_attn": [lambda: sigmoid(setting, 512), lambda: sigmoid(setting, 2048)],
        "retnet": [lambda: retention(setting)],
        "mamba": [lambda: against_transformers(setting, "mamba", ">= 2")],
        "gated_deltanet": [lambda: against_transformers(setting, "gated_deltanet", ">= 1.5")],
        "titan_attn": [lambda: titan_memory(setting)],
        "moe": [lambda: mixture(setting, 8, 2, "<= 1.35"), lambda: mixture(setting, 32, 4, "<= 1.6")],
    }
    for name in names:
        for claim in chosen.get(name, ()):
            yield claim()
