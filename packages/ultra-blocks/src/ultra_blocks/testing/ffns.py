"""The rules of feed-forward networks."""

from __future__ import annotations

import torch

from ultra_blocks.testing.cases import FFNCase, noise, output
from ultra_blocks.testing.construction import FFN_RULES
from ultra_blocks.testing.differences import check_close, check_finite
from ultra_blocks.testing.draws import Batch, batches
from ultra_blocks.testing.exactness import check_answer, check_zero, named_gradients
from ultra_blocks.testing.finite_differences import check_gradients, check_precision
from ultra_blocks.testing.idle_parameters import check_trained
from ultra_blocks.testing.numerics import AUTOCAST, AUTOCAST_STEPS, check_norm
from ultra_blocks.testing.parameters import check_description, check_drawing, check_saving


@FFN_RULES("F1", draw=batches(rows=(1, 2), documents=(0, 2)), examples=6, after=("F1b",))
def ffn_padding(case: FFNCase, batch: Batch) -> None:
    """Outputs and gradients do not depend on padding; outputs at padding are exact zeros.

    Fix: clear padding before and after: ``x = layout.zero_padding(x)`` first, and ``return
    layout.zero_padding(y)`` if a bias or an activation moves zeros (``if layout is not None``).
    """
    module, layout = case.build(), batch.layout()
    tokens = batch.tokens(case.hidden_size)
    y = output(module, batch.place(tokens, layout, case.hidden_size), layout)
    check_zero("output", y, ~layout.mask)
    found = named_gradients(module, y, torch.ones_like(y), tokens)
    check_finite(found, "padding is NaN or large")
    if not tokens:
        return
    alone = output(module, torch.cat(tokens)[None], None)
    bare = torch.zeros_like(y).masked_scatter(layout.mask[..., None], alone[0])
    check_close(y, bare, case.allows(1e-12), other="without padding")
    wanted = named_gradients(module, alone, torch.ones_like(alone), tokens)
    for name, g in wanted.items():
        check_close(found[name], g, case.allows(1e-11), what=name, other="without padding")


@FFN_RULES("F2", draw=batches(rows=(1, 1), paddings=("none",)), examples=3)
def ffn_numbers(case: FFNCase, batch: Batch) -> None:
    """Gradients agree with finite differences, evaluation is deterministic, bf16 autocast is within 5 %.

    Fix: look for ``detach()`` and in-place writes; draw only in training; compute what needs more digits in
    fp32. An FFN that rounds declares ``traits: ClassVar = NumericTraits(straight_through=True)``.
    """
    module, layout = case.build(), batch.layout()
    x = batch.place(batch.tokens(case.hidden_size), layout, case.hidden_size).detach()
    y = output(module, x, layout).detach()
    check_answer(y, x)
    check_close(output(module, x, layout), y, 0.0, other="the first time")
    with torch.autocast("cpu", torch.bfloat16):
        half = output(case.build(torch.float32), x.float(), layout)
    check_norm(half, y, AUTOCAST_STEPS if case.traits.straight_through else AUTOCAST)
    check_gradients(case, lambda x: output(module, x, layout), x, module)
    check_precision(case, lambda x: output(module, x, layout), x, module)


TOKENS = 150
"""Tokens of a row from which all parameters are trained."""


@FFN_RULES("F3")
def ffn_parameters(case: FFNCase) -> None:
    """Parameters are in the state dict and described; initialisation uses torch's global generator.

    Each of them gets a gradient from outputs or losses in training, and so does every row and column of a
    matrix and every one of a few experts.

    Fix: derive from ``FeedForward`` or write ``parameter_info``; a plain module leaves it to the types of its
    modules. Draw with ``nn.init``.
    """
    module, x = case.build(), noise(1, 3, case.hidden_size)
    check_description(module)
    loaded = output(check_saving(case), x, None)
    check_close(loaded, output(module, x, None), 0.0, what="loaded, output", other="before saving")
    check_drawing(case)
    x = noise(2, TOKENS, case.hidden_size, seed=4)
    y = module.train()(x, None)
    branch, losses = y if isinstance(y, tuple) else (y, {})
    check_trained(module, branch, losses.values(), given=f"an input {tuple(x.shape)}")
