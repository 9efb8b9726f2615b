"""Rules about tensors: shapes, memory layouts, dtypes, memory of others, closures."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ultra_core.contracts import ParamInfo
from ultra_core.testing import Finding
from ultra_optim.testing.subject import (
    Bag,
    Subject,
    cut_apart,
    displacement,
    drive,
    error,
    gradients,
    take_step,
)

LAYOUTS = (torch.Tensor.clone, torch.Tensor.contiguous, torch.Tensor.clone)


def treats_elements_alike(subject: Subject) -> None:
    """Updates do not depend on how parameters are batched, fused or cut into pieces.

    Fix: take norms and means over one parameter, not over a group. Where an element of a vector depends on
    the others by design, declare ``OptimizerTraits(whole_tensors=True)``; where a norm over all parameters
    scales each, ``common_norm=True``.
    """
    start = [
        torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((4, 6), (6, 6), (6, 4), (9,))
    ]
    steps = gradients(start, 5)
    together = displacement(subject, start, steps, lr=1e-2)
    for index, t in enumerate(start):
        if subject.traits.common_norm or not subject.takes(t):
            continue
        (alone,) = displacement(subject, [t], [[grads[index]] for grads in steps], lr=1e-2)
        apart = error(alone, together[index])
        assert apart < 1e-6, (
            f"{tuple(t.shape)} moves differently by {apart:.1e} when it is the only parameter"
        )
    if subject.has("fused"):
        for a, b in zip(together, displacement(subject, start, steps, lr=1e-2, fused=False), strict=True):
            assert error(a, b) < 1e-5, (
                f"{tuple(a.shape)}: the fused update differs from the plain one by {error(a, b):.1e}"
            )
    long = torch.randn(600_000, generator=torch.Generator().manual_seed(3))
    if subject.traits.whole_tensors or subject.traits.common_norm or not subject.takes(long):
        return
    long_steps = gradients([long], 2)
    (whole,) = displacement(subject, [long], long_steps, lr=1e-2)
    cut = [g[0].split(300_000) for g in long_steps]
    pieces = displacement(subject, long.split(300_000), cut, lr=1e-2)
    apart = error(torch.cat(pieces), whole)
    assert apart < 1e-6, f"a vector of 600000 elements moves differently by {apart:.1e} from its two halves"


WHOLE = (7, 5)
CUTS = {
    "its first 3 rows and the others": lambda t: t.split([3, 4], 0),
    "its first 2 columns and the others": lambda t: t.split([2, 3], 1),
    "two vectors of its numbers": lambda t: t.flatten().split([17, 18]),
}
"""Uneven parts of a matrix, as processes that share its parameters have them."""


def moves_parts_as_the_whole(subject: Subject) -> None:
    """A method that declares ``elementwise`` moves the parts of a tensor as it moves the whole tensor.

    Training with sharded parameters updates the part that each process holds. The gradients of one part
    outgrow those of the other, so that what one norm, mean or bound of both would do is seen.

    Fix: remove ``elementwise=True`` from the traits, so that one process updates the whole tensor; or take
    no norm, mean or statistic over rows, columns or all elements of a tensor, and no account of its shape.
    """
    start = torch.randn(WHOLE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain = [grad for (grad,) in gradients([start], 4)]
    for what, cut in CUTS.items():
        parts = [part.contiguous() for part in cut(start)]
        if not all(map(subject.takes, (start, *parts))):
            continue
        grads = [grad.clone() for grad in plain]
        for step, grad in enumerate(grads):
            cut(grad)[1].mul_(50 * 4**step)  # a view
        (whole,) = _moved(subject, [start], [[grad] for grad in grads])
        apart = _moved(subject, parts, [[part.contiguous() for part in cut(grad)] for grad in grads])
        worst = max(error(a, b) for a, b in zip(apart, cut(whole), strict=True))
        if worst > 1e-9:
            raise Finding(
                f"traits.elementwise is true, but a matrix of shape {WHOLE} moves differently by {worst:.1e} "
                f"as {what}"
            )


def _moved(subject: Subject, start: list[Tensor], steps: list[list[Tensor]]) -> list[Tensor]:
    """Return the displacements of tensors that all are of the same kind, with weight decay."""
    bag = Bag([t.clone() for t in start], {f"p{i}": ParamInfo(kind="embedding") for i in range(len(start))})
    drive(subject.build(bag, lr=1e-2, weight_decay=0.1), bag.tensors(), steps)
    return [p.detach() - t for p, t in zip(bag.tensors(), start, strict=True)]


def leaves_others_alone(subject: Subject) -> None:
    """``step()`` writes only parameters and state; gradients only if the traits declare it.

    Weight decay is on, since it is what often ends up in the gradient.

    Fix: compute in tensors of your own, ``grad = p.grad.clone()``, and write by ``p.add_(...)``, not by
    ``p.data = ...``; or declare ``OptimizerTraits(changes_gradients=True)``.
    """
    buffer = torch.full((64,), 7.0)
    views = [buffer[4:28].view(4, 6), buffer[32:37]]
    model = Bag([])
    for index, view in enumerate(views):
        model.register_parameter(f"p{index}", nn.Parameter(view))
    optimizer = subject.build(model, lr=1e-2, weight_decay=0.1)
    steps = gradients(views, 3)
    for grads in steps:
        held = [g.clone() for g in grads]
        for p, g in zip(model.tensors(), held, strict=True):
            p.grad = g
        take_step(optimizer)
        for p, g, original in zip(model.tensors(), held, grads, strict=True):
            assert p.grad is g, f"step() replaced p.grad of {tuple(p.shape)}"
            if not subject.traits.changes_gradients:
                changed = float((g - original).abs().max())
                assert torch.equal(g, original), (
                    f"step() with weight_decay=0.1 wrote to p.grad of {tuple(p.shape)}: "
                    f"changed by {changed:.1e}"
                )
    untouched = torch.cat([buffer[:4], buffer[28:32], buffer[37:]])
    assert bool((untouched == 7.0).all()), "memory beside a parameter was written"
    for p, view in zip(model.tensors(), views, strict=True):
        assert p.data_ptr() == view.data_ptr(), "a parameter was moved to other memory"


def supports_closures(subject: Subject) -> None:
    """``step(closure)`` evaluates it with gradients enabled and returns its value.

    Fix: begin ``step`` with ``with torch.enable_grad(): loss = closure()``, and end it with ``return loss``.
    """
    bag = Bag([torch.ones(4, 3)])
    optimizer = subject.build(bag, lr=1e-2)
    enabled = []

    def closure() -> Tensor:
        enabled.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = sum((p.square().sum() for p in bag.parameters()), torch.zeros(()))
        loss.backward()
        return loss

    for _ in range(2):
        with torch.no_grad():
            value = take_step(optimizer, closure)
    assert enabled == [True, True], "the closure was not called with gradients enabled"
    assert value is not None, "step(closure) must return the loss"
    for p in bag.tensors():
        assert p.grad_fn is None, f"{tuple(p.shape)} is not a leaf any more"
        assert p.requires_grad == subject.takes(p), f"step() changed requires_grad of {tuple(p.shape)}"


@attrs.frozen
class Parameters:
    """Tensors of one dtype, with descriptions of some by name; its text has the shapes and strides."""

    tensors: tuple[Tensor, ...]
    infos: Mapping[str, ParamInfo]

    def without_empty_ones(self) -> Parameters:
        """Return those that have elements."""
        kept = [(i, t) for i, t in enumerate(self.tensors) if t.numel()]
        infos = {f"p{new}": self.infos[f"p{i}"] for new, (i, _) in enumerate(kept) if f"p{i}" in self.infos}
        return Parameters(tuple(t for _, t in kept), infos)

    def __repr__(self) -> str:
        layouts = (f"{tuple(t.shape)} by {t.stride()}" for t in self.tensors)
        return f"{self.tensors[0].dtype} tensors {', '.join(layouts)}"


@st.composite
def _drawn_parameters(draw: st.DrawFn) -> Parameters:
    """Draw one tensor of each kind, with sizes, order, strides, row blocks and one dtype for all."""
    a, b, c, d = (draw(st.integers(1, 6)) for _ in range(4))
    first = draw(st.integers(1, 3))
    fused = ParamInfo(kind="matrix", row_blocks=(first, a))
    experts = ParamInfo(kind="expert", expert_dim=draw(st.sampled_from((0, 2))))
    conv = ParamInfo(kind="conv")
    kinds: list[tuple[tuple[int, ...], ParamInfo | None]] = [
        ((), None), ((0,), None), ((a,), None), ((1, b), None), ((c, 1), None), ((c, d), None),
        ((first + a, b), fused), ((a, b, c), experts), ((a, b, c, d), conv),
    ]  # fmt: skip
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    dtype = draw(st.sampled_from((torch.float32, torch.float64, torch.bfloat16)))
    tensors: list[Tensor] = []
    infos: dict[str, ParamInfo] = {}
    for index, (shape, info) in enumerate(draw(st.permutations(kinds))):
        t = torch.randn(shape, generator=generator).to(dtype)
        if t.ndim > 1 and draw(st.booleans()):
            t = t.movedim(-1, 0).contiguous().movedim(0, -1)
        tensors.append(t)
        if info is not None:
            infos[f"p{index}"] = info
    return Parameters(tuple(tensors), infos)


PARAMETERS = _drawn_parameters()
"""What hypothesis draws for :func:`takes_every_shape`."""


def takes_every_shape(subject: Subject, parameters: Parameters) -> None:
    """Parameters of every shape stay finite, whatever their memory layout and parameter groups.

    Scalars, empty tensors, rows, columns, fused matrices, stacked experts and convolutions are drawn. Numbers
    of dimensions that the traits leave out must be refused by an error of the constructor or the first step.

    Fix: address elements by the tensor (``p.add_(...)``), not by its memory; what takes only some numbers of
    dimensions declares them, ``OptimizerTraits(dimensions=(2,))``, and raises ``ValueError`` for others.
    """
    for dimensions in range(5):
        if subject.traits.dimensions is not None and dimensions not in subject.traits.dimensions:
            what = f"traits.dimensions leaves out {dimensions}"
            _refuses(subject, nn.Parameter(torch.ones((3,) * dimensions)), what)
    if not subject.traits.empty_parameters:
        for shape in ((0,), (0, 3)):
            _refuses(subject, nn.Parameter(torch.ones(shape)), "traits.empty_parameters is false")
        parameters = parameters.without_empty_ones()
    try:
        _stays_finite(subject, parameters)
    except AssertionError:
        raise
    except Exception as error:
        _find_refused(subject, parameters)
        raise error


def _stays_finite(subject: Subject, parameters: Parameters) -> None:
    tensors = parameters.tensors
    bags = [Bag([layout(t.clone()) for t in tensors], parameters.infos) for layout in LAYOUTS]
    for index, bag in enumerate(bags):
        optimizer = cut_apart(subject, bag, lr=1e-2) if index == 2 else subject.build(bag, lr=1e-2)
        drive(optimizer, bag.tensors(), gradients(tensors, 3))
    for mine, plain, apart, t in zip(*(bag.tensors() for bag in bags), tensors, strict=True):
        assert bool(torch.isfinite(mine).all()), f"shape {tuple(t.shape)} became infinite or NaN"
        if t.dtype == torch.bfloat16:
            continue  # one rounding more or less shows
        for other, what in ((plain, "contiguous memory"), (apart, "groups of their own")):
            worst = error(mine.detach(), other.detach())
            assert worst < 1e-4, (
                f"shape {tuple(t.shape)}, strides {t.stride()}: differs from {what} by {worst:.0e}"
            )


def _find_refused(subject: Subject, parameters: Parameters) -> None:
    """Raise a finding about the first tensor with which an optimizer of its own raises an exception."""
    for index, tensor in enumerate(parameters.tensors):
        infos = {"p0": parameters.infos[f"p{index}"]} if f"p{index}" in parameters.infos else {}
        bag = Bag([tensor.clone()], infos)
        try:
            drive(subject.build(bag, lr=1e-2), bag.tensors(), gradients([tensor], 3))
        except Exception as error:
            seen = f"shape {tuple(tensor.shape)}, strides {tensor.stride()}"
            skip = "skip it, `if not p.numel(): continue`, or declare `empty_parameters=False` in the traits"
            fix = "" if tensor.numel() else skip
            raise Finding(f"{seen} raises {type(error).__name__}: {error}", fix=fix) from error


def _refuses(subject: Subject, tensor: Tensor, what: str) -> None:
    try:
        drive(subject.over_groups([tensor]), [tensor], gradients([tensor], 1))
    except Exception:
        return
    raise AssertionError(f"{what}, and a tensor of shape {tuple(tensor.shape)} was accepted")


def takes_low_precision(subject: Subject) -> None:
    """The first steps of bfloat16 parameters are about those of float32 ones.

    The learning rate is so large that the resolution of bfloat16 does not matter.

    Fix: compute in float32 and round once: ``p.copy_(wide)``; a fused kernel may skip the dtype.
    """
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((8, 12), (12, 8), (9,))]
    start = [t.bfloat16().float() for t in start]
    steps = [[g.bfloat16().float() for g in grads] for grads in gradients(start, 4)]
    first = 1e5 if subject.traits.one_lr else 0.1  # a method that finds its step size starts at about 1e-6
    for lr in (first * 10.0**power for power in range(8)):
        wide = displacement(subject, start, steps, lr=lr, weight_decay=0.0)
        if max(float(moved.square().mean()) for moved in wide) > 0.01:
            break
    bag = Bag([t.bfloat16() for t in start])
    optimizer = subject.build(bag, lr=lr, weight_decay=0.0)
    drive(optimizer, bag.tensors(), [[g.bfloat16() for g in grads] for grads in steps])
    for p, t, expected in zip(bag.tensors(), start, wide, strict=True):
        distance = float((p.detach().float() - t - expected).norm() / (expected.norm() + 1e-12))
        assert distance < 0.1, (
            f"the bfloat16 displacement of {tuple(p.shape)} differs by {distance:.2f} of its norm"
        )
