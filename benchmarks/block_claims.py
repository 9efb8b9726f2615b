"""Speed claims of the blocks against named peers, as ratios of measured times."""

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
    """A ratio of times, and its bound."""

    text: str
    bound: str
    works: tuple[Work, ...]
    ratio: Callable[..., float] = operator.truediv

    def holds(self, ratio: float) -> bool:
        """Whether a ratio satisfies the bound."""
        sign, number = self.bound.split()
        compare = {"<=": operator.le, ">=": operator.ge, ">": operator.gt}[sign]
        return compare(ratio, float(number))


LINEAR = {
    **dict.fromkeys(("retnet", "mamba", "gla", "hgrn2", "longformer_attn"), "<= 1.3"),
    **dict.fromkeys(("deltanet", "gated_deltanet", "kda"), "<= 1.5"),
}
"""Bounds of the growth of time per token from T = 512 to 4096; Titan's memory is timed separately."""


def growth_claims(times: Mapping[tuple[str, int], float]) -> list[tuple[Claim, float]]:
    """Return the claims about the growth of blocks, with the ratios of times for equal numbers of tokens."""
    return [
        (Claim(f"{name}, T = 4096 / T = 512", bound, ()), times[name, 4096] / times[name, 512])
        for name, bound in LINEAR.items()
        if (name, 4096) in times and (name, 512) in times
    ]


def build(setting: Setting, name: str, **options: Any) -> nn.Module:
    """Return a bidirectional block as in a model of this width, without dropout."""
    fields = {"num_heads": setting.heads, "retention_heads": setting.heads, "dropout": 0.0}
    supplied = {"hidden_size": setting.width, "causal": False}
    cls = blocks.get(name)
    return cls(**bind(cls, options, supplied=supplied, model=fields))


def work(setting: Setting, name: str, length: int, **options: Any) -> Work:
    """Return the work of a block at a length."""
    module = build(setting, name, **options)
    return Work(setting, module, length, of_block(module))


def a_direction(theirs: float, their_projections: float, ours: float, our_projections: float) -> float:
    """Return the time of the peer divided by that of one of our two directions, without projections."""
    return 2 * (theirs - their_projections) / (ours - our_projections)


def attention(setting: Setting, length: int) -> Claim:
    """Compare standard_attn with a plain implementation of the same layer."""
    bare = peers.BareSDPA(setting.width, setting.heads)
    works = (work(setting, "standard_attn", length), Work(setting, bare, length, bare))
    return Claim(f"standard_attn / bare SDPA layer, T = {length}", "<= 1.05", works)


def sigmoid(setting: Setting, length: int) -> Claim:
    """Compare sigmoid_attn with standard_attn, which has a fused kernel."""
    works = (work(setting, "sigmoid_attn", length), work(setting, "standard_attn", length))
    return Claim(f"sigmoid_attn / standard_attn, T = {length}", "<= 1.6", works)


def retention(setting: Setting) -> Claim:
    """Compare retnet with softmax attention of the same width."""
    bare = peers.BareSDPA(setting.width, setting.heads)
    works = (Work(setting, bare, 4096, bare), work(setting, "retnet", 4096))
    return Claim("bare SDPA layer / retnet, T = 4096", "> 1", works)


def against_transformers(setting: Setting, name: str, bound: str, length: int = 1024) -> Claim:
    """Compare one direction of a block with the causal layer of transformers of the same sizes."""
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
    """Measure the growth of the time of Titan's memory with the length."""
    works = []
    for length in (4096, 512):
        memory = build(setting, "titan_attn").memory
        works.append(Work(setting, memory, length, of_memory(memory)))
    return Claim("Titan's memory, T = 4096 / T = 512", "<= 1.5", tuple(works))


def of_memory(memory: nn.Module) -> Call:
    """Return the concatenated outputs of the heads of a memory."""
    return lambda x, mask: memory(x, Layout.from_mask(mask)).flatten(2)


def mixture(setting: Setting, experts: int, top_k: int, bound: str) -> Claim:
    """Compare moe with a dense FFN of the width that is active for a token."""
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
