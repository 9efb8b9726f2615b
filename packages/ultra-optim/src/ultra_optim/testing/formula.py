"""The rule that compares an optimizer with a plain reference, and how a reference is called."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from ultra_core.contracts import ParamInfo
from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding
from ultra_optim.contract.traits import MATRIX_KINDS
from ultra_optim.reference.formulas import adamw
from ultra_optim.testing.subject import Bag, Subject, gradients, pass_curvature

STEPS = 20
LONG = 280

Reference = Callable[..., Tensor]


@attrs.frozen
class Setting:
    """One tensor that an optimizer and its reference move.

    Attributes:
        shape: its shape.
        info: its description.
        steps: number of steps.
    """

    shape: tuple[int, ...]
    info: ParamInfo
    steps: int = STEPS

    def __str__(self) -> str:
        blocks = f" with row blocks {self.info.row_blocks}" if self.info.row_blocks else ""
        return f"{self.info.kind} {self.shape}{blocks}"


MATRIX = ParamInfo(kind="matrix")
VECTOR = ParamInfo(kind="vector", decay=False)

SETTINGS = (
    Setting((6, 10), MATRIX),
    Setting((12, 4), MATRIX),
    Setting((6, 6), MATRIX),
    Setting((7,), VECTOR),
    Setting((11, 6), ParamInfo(kind="embedding")),
    Setting((), VECTOR),
    Setting((4, 4), MATRIX, LONG),
)

STACKED = (
    Setting((12, 5), ParamInfo(kind="matrix", row_blocks=(4, 2, 6))),
    Setting((3, 4, 5), ParamInfo(kind="expert")),
    Setting((4, 5, 3), ParamInfo(kind="expert", expert_dim=2)),
)
"""For optimizers that know which tensors are made of several matrices."""

LOGIT = 125.0
"""Largest logit of the head under test, above the usual bound."""


def lacks_a_reference(subject: Subject) -> str:
    """Return why the formula cannot be tried, or nothing."""
    if getattr(subject.cls, "reference", None) is not None:
        return ""
    advice = 'its formula is unproven until it has `reference = "package.module:function"`'
    return f"{subject} has no reference; {advice}"


def follows_its_reference(subject: Subject) -> None:
    """Twenty steps in float64, with decay and a new rate each, give what the attribute ``reference`` gives.

    The reference is a function, or ``"package.module:function"``, of ``(p, g, state, **options)`` that
    returns the new p. It is called with an empty dict as the first state, and gets the options that its
    signature names: of the group, else of the constructor, and ``kind``, ``row_blocks``, ``expert_dim``,
    ``curvature`` (what the last pass gave, or None) and ``max_logit`` if it asks for them. One that does not
    ask for row blocks is called once for each matrix; one of a matrix optimizer that does not ask for the
    kind is compared on matrices alone, and all others with AdamW. Evaluation weights are ``state["x"]``. A
    tensor for which it raises NotImplementedError is left out.

    Fix: compare the line of the update that computes the named step with that of the paper; where the
    optimizer is right and only rounds otherwise, raise ``traits.reference_error`` and say why.
    """
    reference = resolved(subject.cls)
    compared = 0
    for setting in SETTINGS + (STACKED if subject.traits.matrix else ()):
        rows = len(setting.shape) > 0 or not subject.traits.needs_logits  # a head has rows
        if not rows or not subject.takes(torch.empty(setting.shape, device="meta")):
            continue
        with contextlib.suppress(NotImplementedError):
            _compare(subject, reference, setting)
            compared += 1
    assert compared, "the reference raises NotImplementedError for every tensor"


def resolved(cls: type) -> Reference:
    """Return the reference of a class.

    Raises:
        Finding: there is no such function.
    """
    named = getattr(cls, "reference", None)
    if named is None:
        raise Finding("the class has no attribute reference")
    if not isinstance(named, str):
        return named
    module, _, name = named.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Finding(
            f"the reference {named!r} cannot be read: {error}",
            fix='name a function as in reference = "my_package.formulas:my_method".',
        ) from error


def _compare(subject: Subject, reference: Reference, setting: Setting) -> None:
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(setting.shape, generator=generator, dtype=torch.float64)
    treated = not subject.traits.matrix or setting.info.kind in MATRIX_KINDS
    logit = LOGIT if setting.info.kind == "matrix" and not setting.info.row_blocks else 0.0
    bag = Bag([start.clone()], {"p0": setting.info}, logit=logit)
    optimizer: Any = subject.build(bag, lr=1e-2, weight_decay=0.1)
    (parameter,), (group,) = bag.tensors(), optimizer.param_groups
    rate = group["lr"]
    names = inspect.signature(reference).parameters
    formula = reference if treated or "kind" in names else adamw
    state: dict[Any, Any] = {}
    expected, curvature = start, None
    extra = {"kind": setting.info.kind, "max_logit": logit if treated else 0.0}
    for step, (grad,) in enumerate(gradients([start], setting.steps)):
        group["lr"] = rate * (1 + 0.5 * math.sin(step))
        parameter.grad = grad.clone()
        options = {**defaults_of(subject), **group, **extra, **_layout(setting.info), "curvature": curvature}
        expected = apply(formula, expected, grad, state, options)
        optimizer.step()
        curvature = None
        if getattr(optimizer, "curvature_due", False):
            pass_curvature(optimizer)
            curvature = grad.square()
        _same(parameter.detach(), expected, start, f"step {step + 1}: the {setting}", subject)
    if subject.traits.eval_weights and "x" in state:
        optimizer.eval()
        _same(parameter.detach(), state["x"], start, f"evaluation weights: the {setting}", subject)


def _layout(info: ParamInfo) -> dict[str, Any]:
    expert_dim = 0 if info.expert_dim is None and info.kind == "expert" else info.expert_dim
    return {"row_blocks": list(info.row_blocks), "expert_dim": expert_dim}


def defaults_of(subject: Subject) -> dict[str, Any]:
    """Return the options of the constructor: those under test, else the defaults."""
    return {name: option.default for name, option in read_options(subject.cls).items()} | {
        "total_steps": 100,
        **subject.options,
    }


def apply(formula: Reference, p: Tensor, g: Tensor, state: dict[Any, Any], options: dict[str, Any]) -> Tensor:
    """Return the new p of a reference, which is called once for each matrix unless it asks for row blocks."""
    names = inspect.signature(formula).parameters
    chosen = {name: options[name] for name in names if name in options}
    whole = "expert_dim" in names or ("row_blocks" in names and options["expert_dim"] is None)
    pieces = list(_pieces(p.shape, options))
    if whole or len(pieces) == 1:
        return formula(p, g, state, **chosen)
    moved = p.clone()
    for index, piece in enumerate(pieces):
        moved[piece] = formula(p[piece], g[piece], state.setdefault(index, {}), **chosen)
    return moved


def _pieces(shape: torch.Size, options: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the index of each matrix of a tensor."""
    whole = slice(None)
    if options["expert_dim"] is not None:
        dim = options["expert_dim"]
        for expert in range(shape[dim]):
            yield (*[whole] * dim, expert)
        return
    first = 0
    for rows in options["row_blocks"] or shape[:1]:
        yield (slice(first, first + rows),)
        first += rows
    if not shape:
        yield ()


def _same(actual: Tensor, expected: Tensor, start: Tensor, where: str, subject: Subject) -> None:
    off = (actual - expected).abs()
    moved = float((expected - start).abs().max())
    worst = float(off.max())
    rounding = 4 * torch.finfo(torch.float64).eps * float(expected.abs().max())
    if worst <= subject.traits.reference_error * moved + rounding:
        return
    place = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape)) if off.ndim else ()
    raise Finding(
        f"{where}, element {place} is {float(actual[place]):.9g}, by the reference "
        f"{float(expected[place]):.9g}; the largest displacement so far is {moved:.3g}"
    )
