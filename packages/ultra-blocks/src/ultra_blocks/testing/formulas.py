"""Rules that compare a plugin with its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, Case, FFNCase, NormCase, PositionCase
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.positions import scores
from ultra_blocks.testing.references import Forward, arguments_of, compare, reference_of, unproven
from ultra_core.plugins.signatures import SUPPLIED
from ultra_core.testing.variations import variations

LENGTHS = (1, 2, 7, 33, 130)
"""Lengths at which default options are compared; the last is beyond chunks and blocks of 64 and 128."""

SHORT = (19,)
"""Lengths at which other options are compared."""


@BLOCK_RULES("B30", after=("B0",), unless=unproven)
def block_formula(case: BlockCase) -> None:
    """Outputs and all gradients are those of the reference, in fp64, at several lengths and options.

    The reference is called as ``reference(x, state, **arguments)``: the tokens of one document ``(T, D)``,
    the state dict, and the arguments of the constructor. Default options are compared at 1, 2, 7, 33 and 130
    tokens, and other values of each option at 19.

    Fix: find the term that differs, at the length and with the options that are named: set gates, biases and
    norms to 0 or 1 one after the other. A subclass with another formula needs a reference of its own, or
    ``reference = None``.
    """
    _compare_all(case, _branch, _tokens)


@FFN_RULES("F4", unless=unproven)
def ffn_formula(case: FFNCase) -> None:
    """Outputs, losses and all gradients are those of the reference, in fp64, at several options.

    The reference is called as ``reference(x, state, **arguments)`` with tokens ``(T, D)``; that of an FFN
    with auxiliary losses returns ``(y, {name: loss})``, as in training.

    Fix: find the term that differs, at the length and with the options that are named.
    """
    _compare_all(case, _branch, _tokens)


@NORM_RULES("N5", after=("N1",), unless=unproven)
def norm_formula(case: NormCase) -> None:
    """Outputs and all gradients are those of the reference, ``reference(x, state, **arguments)``, in fp64.

    Fix: find the term that differs: the divisor of the variance (D, not D - 1), the place of ``eps`` under
    the root, the gain.
    """
    _compare_all(case, lambda module, inputs: module(inputs["input"]), _tokens)


@POSITION_RULES("P6", after=("P1",), unless=unproven)
def position_formula(case: PositionCase) -> None:
    """Scores (or embeddings) and their gradients are those of the reference, at positions 0, 1, ...

    The reference is called as ``reference(q, k, state, **arguments)`` with q and k ``(H, T, d)``, and returns
    the unscaled scores ``(H, T, T)``. That of a code of kind "embed" is called as
    ``reference(positions, state, **arguments)`` and returns ``(T, D)``.

    Fix: find the pair of channels or the distance from which on both differ; positions start at 0.
    """

    def forward(code: Any, inputs: Mapping[str, Tensor]) -> Any:
        if code.kind == "embed":
            return code.embed(Layout.full(1, len(inputs["positions"])))[0]
        q, k = inputs["queries"][None], inputs["keys"][None]
        return scores(code, q, k, Layout.full(1, q.shape[2]))[0]

    def draw(case: Case, length: int) -> dict[str, Tensor]:
        if case.cls.kind == "embed":
            return {"positions": torch.arange(length)}
        g = torch.Generator().manual_seed(length)
        q, k = torch.randn(2, 2, length, case.hidden_size // 2, generator=g, dtype=torch.float64)
        return {"queries": q, "keys": k}

    _compare_all(case, forward, draw)


def _tokens(case: Case, length: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(length)
    return {"input": torch.randn(length, case.hidden_size, generator=g, dtype=torch.float64)}


def _branch(module: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    y = module(inputs["input"][None], None)
    return (y[0][0], y[1]) if isinstance(y, tuple) else y[0]


def _compare_all(case: Case, forward: Forward, draw: Callable[[Case, int], dict[str, Tensor]]) -> None:
    reference_of(case)  # before anything is built
    for options, lengths in _settings(case):
        module = case.build(**options)
        for length in lengths:
            if isinstance(case, BlockCase):
                length = case.length(length)
            inputs = draw(case, length)
            if options and _refused(module, forward, inputs):
                continue  # a table of fewer positions than the length, for example
            given = "".join(f"{name}={value!r}, " for name, value in options.items())
            compare(case, module, forward, inputs, options, note=f"{given}length {length}")


def _refused(module: nn.Module, forward: Forward, inputs: Mapping[str, Tensor]) -> bool:
    try:
        forward(module, inputs)
    except ValueError:
        return True
    return False


def _settings(case: Case) -> Iterator[tuple[Mapping[str, Any], tuple[int, ...]]]:
    """Yield options, and the lengths at which they are tried."""
    yield {}, LENGTHS
    held = SUPPLIED | case.supplied().keys() | {"dropout"}  # dropout does not act in evaluation
    base = arguments_of(case, {})
    for variation in variations(case.cls, base, lambda given: case.build(**given), skip=held):
        if not variation.refusal:
            yield variation.arguments, SHORT
