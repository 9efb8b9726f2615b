"""Rules of methods that need passes of curvature: what happens without them, and that they act."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ultra_core.testing import Finding
from ultra_optim.testing.subject import Bag, Subject, error, gradients, pass_curvature

SHAPES = ((6, 10), (7,))
STEPS = 25
WITHOUT_BOUND = 10.0
"""Largest rms(update) / lr where the traits declare none."""


def says_that_curvature_is_missing(subject: Subject) -> None:
    """Without a pass of curvature ``step()`` says so, by an error or a warning, and stays within its bound.

    Fix: raise RuntimeError that names ``curvature_step`` in ``step()`` while ``curvature_due`` is true, or
    warn, and clip the update where the curvature is still 0.
    """
    bag = Bag([torch.ones(shape, dtype=torch.float64) for shape in SHAPES])
    optimizer: Any = subject.build(bag, lr=1e-3, weight_decay=0.0)
    bound = subject.traits.max_update_rms or WITHOUT_BOUND
    said = ""
    for step, grads in enumerate(gradients(bag.tensors(), STEPS)):
        before = [p.detach().clone() for p in bag.tensors()]
        for p, grad in zip(bag.tensors(), grads, strict=True):
            p.grad = grad
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                optimizer.step()
            except (RuntimeError, ValueError) as problem:
                said = str(problem)
        said += " ".join(str(warning.message) for warning in caught)
        for p, old in zip(bag.tensors(), before, strict=True):
            rms = float((p.detach() - old).square().mean().sqrt()) / 1e-3
            assert rms <= bound * (1 + 1e-6), (
                f"step {step + 1} without curvature: rms(update) / lr of {tuple(p.shape)} is {rms:.3g}, "
                f"at most {bound:g} was expected"
            )
        if said:
            break
    if "curvature" not in said.lower():
        what = f"what is said does not name the curvature: {said}" if said else "nothing is said"
        raise Finding(f"in {STEPS} steps without a pass of curvature {what}")


def uses_its_curvature(subject: Subject) -> None:
    """A pass of curvature changes the steps after it, by the gradients of its closure alone.

    The closure is called once, with gradients enabled and cleared; after the pass they are cleared again. The
    estimate depends on the number that the closure returns, and not on the gradients of the step before.

    Fix: begin ``curvature_step`` with ``self.zero_grad()`` and ``with torch.enable_grad(): n = closure()``,
    update the estimate from ``p.grad``, divide by it in ``step()``, and end with ``self.zero_grad()``.
    """
    _runs_its_closure(subject)
    flat, steep = (_after_passes(subject, count) for count in (1e-4, 1e4))
    worst = max(error(a, b) for a, b in zip(flat, steep, strict=True))
    assert worst > 1e-3, "a hundred million times the curvature changes nothing in the steps after the passes"


def _runs_its_closure(subject: Subject) -> None:
    """Take steps with passes that accumulate gradients as ``backward`` does, and look at them."""
    ends = []
    for scale in (1.0, 100.0):
        bag = Bag([torch.ones(shape, dtype=torch.float64) for shape in SHAPES])
        optimizer: Any = subject.build(bag, lr=1e-3, weight_decay=0.0)
        calls: list[str] = []

        def closure(bag: Bag = bag, calls: list[str] = calls, scale: float = scale) -> float:
            calls.append("held" if _held(bag) else "" if torch.is_grad_enabled() else "no_grad")
            for p in bag.tensors():
                p.grad = scale * torch.linspace(1, 2, p.numel(), dtype=p.dtype).view_as(p)
            return 1.0

        for step, grads in enumerate(gradients(bag.tensors(), STEPS)):
            for p, grad in zip(bag.tensors(), grads, strict=True):
                p.grad = grad
            optimizer.step()
            if not optimizer.curvature_due:
                continue
            calls.clear()
            optimizer.curvature_step(closure)
            where = f"the pass of curvature after step {step + 1}"
            if len(calls) != 1 or calls[0] == "no_grad":
                how = "without gradients enabled" if calls else "never"
                raise Finding(f"{where} calls its closure {how if len(calls) < 2 else f'{len(calls)} times'}")
            if calls[0]:
                raise Finding(
                    f"{where} begins with the gradients of the step in p.grad, to which backward() would add"
                )
            if _held(bag):
                raise Finding(f"{where} leaves its gradients in p.grad, to which the next step would add")
        ends.append([p.detach() - 1 for p in bag.tensors()])
    if max(error(a, b) for a, b in zip(*ends, strict=True)) < 1e-3:
        raise Finding("a hundred times the gradients of the passes change nothing in the steps after them")


def _held(bag: Bag) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in bag.tensors())


def _after_passes(subject: Subject, count: float) -> list[Tensor]:
    bag = Bag([torch.ones(shape, dtype=torch.float64) for shape in SHAPES])
    optimizer: Any = subject.build(bag, lr=1e-3, weight_decay=0.0)
    for grads in gradients(bag.tensors(), STEPS):
        for p, grad in zip(bag.tensors(), grads, strict=True):
            p.grad = grad
        optimizer.step()
        if optimizer.curvature_due:
            pass_curvature(optimizer, count)
    return [p.detach() - 1 for p in bag.tensors()]
