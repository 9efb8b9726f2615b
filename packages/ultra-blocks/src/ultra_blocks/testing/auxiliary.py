"""Rules of auxiliary losses, which a plugin may return in training beside its output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import Case
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES
from ultra_blocks.testing.differences import check_close, check_finite
from ultra_blocks.testing.draws import Batch, Padding
from ultra_blocks.testing.dropout import without_dropout
from ultra_core.testing import Finding

DOCUMENTS, LENGTH = 4, 12

PLACES: tuple[tuple[str, tuple[tuple[int, ...], ...], Padding, int], ...] = (
    ("a layout without padding", ((12,),) * 4, "none", 0),
    ("padding of 5 on the right", ((12,),) * 4, "right", 5),
    ("padding of 90 on the left", ((12,),) * 4, "left", 90),
    ("padding inside and a row of padding", ((12,), (), (12,), (12,), (12,)), "inside", 20),
    ("two documents in each row", ((12, 12), (12, 12)), "none", 0),
    ("four documents in a row, with padding", ((12, 12, 12, 12),), "inside", 9),
)
"""The same documents in other places; the last two are packed."""


def auxiliary_losses(case: Case) -> None:
    """Auxiliary losses are those of the real tokens, whatever the padding and packing, with gradients.

    What a plugin returns in training as ``(y, {name: loss})`` are finite scalars that move some parameter.
    The same documents give the same losses and gradients in rows of their own, with padding of any length
    and content, packed, and if each of them is there twice. A batch of padding alone gives finite losses.
    There are none in evaluation.

    Fix: compute them from the real tokens, ``x[layout.mask]``, and divide by their number,
    ``layout.mask.sum().clamp(min=1)``, instead of taking ``mean()`` over rows with padding.
    """
    module = case.build(**without_dropout(case))
    documents = Batch(((LENGTH,),) * DOCUMENTS, "none", 0, 41, torch.float64).tokens(case.hidden_size)
    if losses := _losses(module.eval(), torch.stack(documents), None):
        raise Finding(f"in evaluation there are the losses {sorted(losses)}", fix="`if self.training:`")
    wanted = _losses(module.train(), torch.stack(documents), None)
    if not wanted:
        return
    for name, loss in wanted.items():
        if not isinstance(loss, Tensor) or loss.shape != ():
            given = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise Finding(f"the loss {name!r} is {given}, no scalar tensor")
        slopes = _slopes(loss, list(module.parameters()))
        check_finite({f"the loss {name!r}": loss, "its gradient": slopes}, "in training, without padding")
        if not slopes.any():
            raise Finding(f"the loss {name!r} has no gradient with respect to any parameter")
    for name, loss in _losses(module, torch.stack(documents * 2), None).items():
        what, other = f"with every document twice, loss {name!r}", "with each of them once"
        note = "it is a mean over tokens, not a sum"
        check_close(loss, wanted[name], case.allows(1e-9), what=what, other=other, note=note)
    for place, rows, padding, extra in PLACES if case.packs else PLACES[:4]:
        for fill in (float("nan"), 100.0):
            batch = Batch(rows, padding, extra, 42, torch.float64, fill)
            layout = batch.layout()
            found = _losses(module, batch.place(documents, layout, case.hidden_size), layout)
            if found.keys() != wanted.keys():
                raise Finding(f"with {place} the losses are {sorted(found)}, else {sorted(wanted)}")
            for name in wanted:
                both = [[x[name], _slopes(x[name], list(module.parameters()))] for x in (found, wanted)]
                for what, got, want in zip(("loss", "gradient of the loss"), *both, strict=True):
                    text = f"{what} {name!r}"
                    check_close(
                        got, want, case.allows(1e-9), what=text, other="without padding", note=f"with {place}"
                    )
    x = torch.full((2, 5, case.hidden_size), float("nan"), dtype=torch.float64)
    layout = Layout.from_mask(torch.zeros(2, 5, dtype=torch.bool))
    for name, loss in _losses(module, x, layout).items():
        found = {f"the loss {name!r}": loss, "its gradient": _slopes(loss, list(module.parameters()))}
        check_finite(found, "in a batch of padding alone")


def _losses(module: nn.Module, x: Tensor, layout: Layout | None) -> dict[str, Tensor]:
    y = module(x, layout)
    return y[1] if isinstance(y, tuple) else {}


def _slopes(loss: Tensor, leaves: list[nn.Parameter]) -> Tensor:
    """Return all gradients in one vector; zeros where the loss does not depend on a parameter."""
    if not loss.requires_grad:
        return torch.zeros(1, dtype=loss.dtype)
    found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


BLOCK_RULES("B25", least="quick", after=("B1",))(auxiliary_losses)
FFN_RULES("F12", after=("F1",))(auxiliary_losses)
