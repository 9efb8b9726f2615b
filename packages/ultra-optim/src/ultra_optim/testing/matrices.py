"""Rules of optimizers that treat matrices: fused and stacked ones, shape factors, other parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_core.contracts import ParamInfo
from ultra_core.testing import Finding
from ultra_optim.reference.formulas import adamw
from ultra_optim.testing.formula import apply, defaults_of
from ultra_optim.testing.subject import Bag, Subject, drive, error, gradients, take_step

FUSED = (
    ((12, 5), ParamInfo(kind="matrix", row_blocks=(4, 2, 6))),
    ((9, 5), ParamInfo(kind="matrix", row_blocks=(3, 3, 3))),
    ((13, 16), ParamInfo(kind="matrix", row_blocks=(8, 2, 3))),
    ((3, 4, 5), ParamInfo(kind="expert")),
    ((4, 5, 3), ParamInfo(kind="expert", expert_dim=2)),
    ((5, 3, 4), ParamInfo(kind="expert", expert_dim=1)),
)
"""Tensors of several matrices: projections of q, k and v, and stacked experts."""

STEPS = 12


def parts(tensor: Tensor, info: ParamInfo) -> list[Tensor]:
    """Return the matrices that a tensor consists of, in order."""
    if info.kind == "expert":
        return list(tensor.unbind(info.expert_dim or 0))
    return list(tensor.split(list(info.row_blocks)))


def treats_blocks_as_matrices(subject: Subject) -> None:
    """Row blocks of a fused matrix, and stacked experts, move exactly as separate matrices do.

    Norms, shape factors and orthogonalisation are those of each part, and so is its state.

    Fix: split each parameter by the ``row_blocks`` and ``expert_dim`` of its group before anything that looks
    at the whole matrix: ``for matrix in matrices_in(update, row_blocks, expert_dim)`` with
    ``ultra_optim.families.matrices.matrices_in``.
    """
    for shape, info in FUSED:
        generator = torch.Generator().manual_seed(4)
        start = torch.randn(shape, generator=generator, dtype=torch.float64)
        grads = [grad for (grad,) in gradients([start], STEPS)]
        first = torch.randn(
            6, 6, generator=generator, dtype=torch.float64
        )  # a head, where logits are bounded
        whole = _moved(subject, [first, start], [[g] for g in grads], {"p1": info})
        alone = [first, *(part.contiguous() for part in parts(start, info))]
        expected = _moved(subject, alone, [parts(g, info) for g in grads], {})
        for index, (a, e) in enumerate(zip(parts(whole[0], info), expected, strict=True)):
            worst = error(a, e)
            what = (
                f"row blocks {info.row_blocks}"
                if info.row_blocks
                else f"experts in dimension {info.expert_dim or 0}"
            )
            assert worst < 1e-7, (
                f"{shape} with {what}: part {index} of shape {tuple(a.shape)} moves differently from a "
                f"matrix of its own, by {worst:.1e} of its displacement"
            )


def _moved(
    subject: Subject, start: list[Tensor], steps: list[list[Tensor]], infos: dict[str, ParamInfo]
) -> list[Tensor]:
    """Return the displacements of all tensors but the first, which has no gradients."""
    bag = Bag([t.clone() for t in start], infos)
    optimizer = subject.build(bag, lr=1e-2, weight_decay=0.1)
    drive(optimizer, bag.tensors()[1:], steps)
    return [p.detach() - t for p, t in zip(bag.tensors()[1:], start[1:], strict=True)]


FACTORS = {
    "rms": lambda rows, columns: math.sqrt(max(rows, columns)),
    "spectral": lambda rows, columns: math.sqrt(rows / columns),
    "original": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "none": lambda rows, columns: 1.0,
}
"""The size of an update whose singular values are equal, for each ``traits.shape_factor``."""

SIDES = ((16, 16), (12, 24), (24, 12), (8, 64), (64, 8))
EVEN = 2.0
"""Ratio of singular values up to which an update counts as orthogonalised."""

SPREAD = 1.25
"""Largest ratio of sizes after the factor is divided out; Newton-Schulz scatters them by 1.15."""


def scales_by_shape(subject: Subject) -> None:
    """The size of an orthogonalised update depends on the shape of the matrix by a known factor.

    Tall, wide and square matrices are tried; ``traits.shape_factor`` says which one it is.

    Fix: multiply by ``math.sqrt(max(1, rows / columns))``, or by ``0.2 * math.sqrt(max(rows, columns))`` for
    the root mean square of AdamW, with the rows and columns of the matrix itself, not of its transpose.
    """
    sizes = {}
    for sides in SIDES:
        zero = torch.zeros(sides, dtype=torch.float64)
        generator = torch.Generator().manual_seed(5)
        u, _, vh = torch.linalg.svd(torch.randn(sides, generator=generator, dtype=torch.float64), False)
        values = torch.linspace(1.0, 0.3, min(sides), dtype=torch.float64)
        bag = Bag([zero.clone()])
        optimizer = subject.build(bag, lr=1e-2, weight_decay=0.0)
        drive(
            optimizer,
            bag.tensors(),
            [[u @ torch.diag(values) @ vh]] * (2 if subject.traits.idle_first_step else 1),
        )
        found = torch.linalg.svdvals(bag.tensors()[0].detach())
        if float(found.max()) > EVEN * float(found.min()):
            return  # it does not orthogonalise
        sizes[sides] = float(found.mean()) / 1e-2
    spreads = {name: _spread([sizes[s] / factor(*s) for s in sizes]) for name, factor in FACTORS.items()}
    declared = subject.traits.shape_factor
    if declared == "other":
        return
    if (spreads[declared] if declared else min(spreads.values())) > SPREAD:
        table = ", ".join(f"{sides}: {size:.3g}" for sides, size in sizes.items())
        expected = f"the factor {declared!r}" if declared else f"no factor of {', '.join(FACTORS)}"
        raise Finding(
            f"singular values of the update over lr by (rows, columns) are {table}; that is "
            f"{'not ' if declared else ''}{expected}"
        )


def _spread(sizes: list[float]) -> float:
    return max(sizes) / min(sizes)


OTHERS = (
    ((7,), ParamInfo(kind="vector")),
    ((11, 6), ParamInfo(kind="embedding")),
    ((11, 6), ParamInfo(kind="head")),
    ((4, 6), ParamInfo(kind="router")),
    ((), ParamInfo(kind="vector")),
)


def leaves_others_to_adamw(subject: Subject) -> bool:
    """Whether the traits promise that all other parameters take AdamW."""
    return subject.traits.matrix and subject.traits.other_kinds == "adamw"


def gives_others_to_adamw(subject: Subject) -> None:
    """A matrix optimizer updates all parameters that are not hidden matrices by AdamW, exactly.

    Embeddings, heads, routers, vectors and scalars are compared with AdamW with the ``lr``, ``betas``,
    ``eps`` and ``weight_decay`` of their group.

    Fix: apply the method to groups of kind ``matrix`` and ``expert`` only, and AdamW with bias correction to
    all others; declare ``other_kinds="own"`` if the method has a rule of its own for them.
    """
    for shape, info in OTHERS:
        generator = torch.Generator().manual_seed(4)
        start = torch.randn(shape, generator=generator, dtype=torch.float64)
        first = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        if not subject.takes(start):
            continue
        bag = Bag([first, start.clone()], {"p1": info})
        optimizer = subject.build(bag, lr=1e-2, weight_decay=0.1)
        parameter = bag.tensors()[1]
        (group,) = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
        options = {**defaults_of(subject), **group, "row_blocks": [], "expert_dim": None}
        state: dict[Any, Any] = {}
        expected = start
        for step, (grad,) in enumerate(gradients([start], STEPS)):
            parameter.grad = grad.clone()
            take_step(optimizer)
            expected = apply(adamw, expected, grad, state, options)
            worst = error(parameter.detach() - start, expected - start)
            assert worst < 1e-7, (
                f"step {step + 1}: {info.kind} {shape} is off AdamW with lr {group['lr']:g} and betas "
                f"{options.get('betas')} by {worst:.1e} of its displacement"
            )
