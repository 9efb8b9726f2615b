"""Rules about updates: that they reduce the loss, and follow learning rate, weight decay and scale."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ultra_core import optimizers
from ultra_core.contracts import ParamInfo
from ultra_optim.contract.traits import traits_of
from ultra_optim.testing.subject import (
    Bag,
    Subject,
    displacement,
    drive,
    error,
    gradients,
    seeded_net,
    train,
    treated,
)

SAME = 0.999999
"""Cosine of the displacements after twenty steps in float64 above which two methods count as the same.

The largest cosine of different methods is 0.99999: that of AdEMAMix, whose slow average starts late."""

SHAPES = ((6, 10), (12, 4), (7,))


def _start(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def differs_from_other_methods(subject: Subject) -> None:
    """The displacement after twenty steps differs from that of every other known optimizer."""
    own = _path(subject)
    for name, rival, options in _rivals(subject):
        other = _path_of(name, rival, tuple(options.items()))
        likeness = float(torch.cosine_similarity(own, other, dim=0))
        if subject.name == traits_of(rival).imitates or name == subject.traits.imitates:
            assert not torch.equal(own, other), f"its updates equal those of {name} bit for bit"
            assert likeness > 0.999, f"it should follow {name}, but the cosine is {likeness:.6f}"
            continue
        assert likeness < SAME, (
            f"its updates are those of {name} (cosine {likeness:.6f}): it is not a method of its own"
        )


def _path(subject: Subject) -> Tensor:
    """Return the displacement after twenty steps of a problem in which methods differ.

    One tensor is large enough for 8-bit state, every fourth gradient is large, and the attention logits are
    above the usual bound.
    """
    start, steps = _problem()
    moved = displacement(
        subject, start, steps, logit=125.0, lr=1e-2, weight_decay=0.0, total_steps=len(steps)
    )
    return torch.cat([d.flatten() for d in moved])


def _problem() -> tuple[list[Tensor], list[list[Tensor]]]:
    start = [*_start()[:2], torch.randn(64, 65, generator=torch.Generator().manual_seed(1)).double()]
    steps = gradients(start, 20)
    return start, [[8 * g if t % 4 == 3 else g for g in grads] for t, grads in enumerate(steps)]


@functools.cache
def _path_of(name: str, cls: type, options: tuple[tuple[str, Any], ...]) -> Tensor:
    if not cls.__module__.startswith("torch."):
        return _path(Subject(name, cls))
    start, steps = _problem()
    tensors = [nn.Parameter(t.clone()) for t in start]
    drive(cls(tensors, lr=1e-2, **dict(options)), tensors, steps)
    return torch.cat([(p.detach() - t).flatten() for p, t in zip(tensors, start, strict=True)])


def _rivals(subject: Subject) -> list[tuple[str, Any, dict[str, Any]]]:
    found: list[tuple[str, Any, dict[str, Any]]] = [
        ("torch.optim.AdamW", torch.optim.AdamW, {"weight_decay": 0.0}),
        ("torch.optim.SGD", torch.optim.SGD, {}),
        ("torch.optim.SGD with momentum", torch.optim.SGD, {"momentum": 0.9}),
    ]
    found += [(name, optimizers.get(name), {}) for name in optimizers.names() if name != subject.name]
    if subject.traits.imitates:
        found = [item for item in found if not item[0].startswith("torch.")]
    return [(name, cls, options) for name, cls, options in found if not issubclass(subject.cls, cls)]


def moves_everything(subject: Subject) -> None:
    """Every parameter that gets gradients is updated, whatever its shape and initial value."""
    model = seeded_net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, subject.build(model, lr=1e-3), 10)
    still = [
        name
        for name, p in model.named_parameters()
        if float((p.detach() - before[name]).abs().max()) < 1e-6 * 1e-3
    ]
    assert not still, f"these parameters did not move in ten steps: {still}"


def reduces_the_loss(subject: Subject) -> None:
    """With one of three learning rates, 150 steps halve the loss of a small network and of a quadratic."""
    for name, fall in (("network", _fall_of_a_network), ("quadratic", _fall_of_a_quadratic)):
        best = float("inf")
        for lr in (1e-3, 1e-2, 1e-1):
            best = min(best, fall(subject, lr))
            if best < 0.5:
                break
        assert best < 0.5, f"the loss of the {name} only fell to {best:.2f} of its first value"


def _fall_of_a_network(subject: Subject, lr: float) -> float:
    model = seeded_net()
    losses = train(model, subject.build(model, lr=lr, weight_decay=0.0), 150)
    return losses[-1] / losses[0]


def _fall_of_a_quadratic(subject: Subject, lr: float) -> float:
    """Return the final over the initial loss of a convex quadratic with curvatures between 0.1 and 1."""
    bag = Bag([torch.zeros(shape, dtype=torch.float64) for shape in SHAPES])
    optimizer = subject.build(bag, lr=lr, weight_decay=0.0)
    curvature = [torch.linspace(0.1, 1.0, t.numel(), dtype=t.dtype).view_as(t) for t in _start(torch.float64)]

    def distances() -> list[Tensor]:
        return [p.detach() - 0.3 * t for p, t in zip(bag.tensors(), _start(), strict=True)]

    def loss() -> float:
        return sum(float((c * d**2).sum()) for c, d in zip(curvature, distances(), strict=True))

    first = loss()
    for _ in range(150):
        drive(optimizer, bag.tensors(), [[c * d for c, d in zip(curvature, distances(), strict=True)]])
    return loss() / first


def obeys_the_gradient_scale(subject: Subject) -> None:
    """Gradients multiplied by c give the same update, or c times the update, as the traits declare."""
    start = _start()
    base = displacement(subject, start, gradients(start, 5, scale=1e4), lr=1e-3, weight_decay=0.0)
    for c in (1e-3, 1e3):
        scaled = gradients(start, 5, scale=1e4 * c)
        moved = displacement(subject, start, scaled, lr=1e-3, weight_decay=0.0)
        factor = c if subject.traits.gradient_scale == "linear" else 1.0
        worst = max(error(m, factor * b) for m, b in zip(moved, base, strict=True))
        assert worst < 1e-3, f"gradients times {c:g}: the update differs from the expected one by {worst:.1e}"


def is_linear_in_the_rate(subject: Subject) -> None:
    """The first displacement is proportional to the learning rate."""
    start = _start()
    steps = gradients(start, 2 if subject.traits.idle_first_step else 1)
    once = displacement(subject, start, steps, lr=1e-3, weight_decay=0.0)
    twice = displacement(subject, start, steps, lr=2e-3, weight_decay=0.0)
    worst = max(error(t, 2 * o) for t, o in zip(twice, once, strict=True))
    assert worst < 1e-6, f"the displacement is not proportional to lr: {worst:.1e}"


def decays_what_it_should(subject: Subject) -> None:
    """Weight decay is applied as the traits declare, and never to parameters with ``decay=False``."""
    start = _start()
    infos = {"p1": ParamInfo(kind="matrix", decay=False), "p2": ParamInfo(kind="vector", decay=False)}

    def moved(weight_decay: float) -> list[Tensor]:
        bag = Bag([t.clone() for t in start], infos)
        optimizer = subject.build(bag, lr=0.01, weight_decay=weight_decay)
        drive(optimizer, bag.tensors(), gradients(start, 2 if subject.traits.idle_first_step else 1))
        return [p.detach() - t for p, t in zip(bag.tensors(), start, strict=True)]

    plain, decayed = moved(0.0), moved(0.5)
    for index in (1, 2):
        assert torch.equal(plain[index], decayed[index]), "a parameter with decay False was decayed"
    difference = decayed[0] - plain[0]
    if subject.traits.decay == "decoupled" and not subject.traits.idle_first_step:
        worst = error(difference, -0.01 * 0.5 * start[0])
        assert worst < 1e-7, f"decoupled decay must subtract lr * weight_decay * p; off by {worst:.1e}"
    else:
        assert float(difference.abs().max()) > 0, "weight_decay has no effect"


def bounds_its_updates(subject: Subject) -> None:
    """After ten steps, rms(update) / lr is at most ``traits.max_update_rms``."""
    start = _start()
    bag = Bag([t.clone() for t in start])
    optimizer = subject.build(bag, lr=1e-3, weight_decay=0.0)
    drive(optimizer, bag.tensors(), gradients(start, 10))
    before = [p.detach().clone() for p in bag.tensors()]
    drive(optimizer, bag.tensors(), gradients(start, 1, seed=5))
    bound = subject.traits.max_update_rms or float("inf")
    for p, old in zip(bag.tensors(), before, strict=True):
        rms = float((p.detach() - old).square().mean().sqrt()) / 1e-3
        assert rms <= bound * (1 + 1e-6), f"rms(update) / lr is {rms:.2f}, promised at most {bound}"


def evens_the_singular_values(subject: Subject) -> None:
    """The condition number of the update of a matrix is at most ``traits.max_condition``, for every shape."""
    bound = subject.traits.max_condition or float("inf")
    for index, (rows, columns) in enumerate(((16, 16), (12, 24), (24, 12), (8, 64))):
        (noise,) = gradients([torch.zeros(rows, columns, dtype=torch.float64)], 1, seed=index)[0]
        u, values, vh = torch.linalg.svd(noise, full_matrices=False)
        ill = u @ torch.diag(torch.logspace(0, -2, len(values), dtype=torch.float64)) @ vh
        (moved,) = displacement(subject, [torch.zeros_like(ill)], [[ill]], lr=1e-2, weight_decay=0.0)
        found = torch.linalg.svdvals(moved)
        ratio = float(found.max() / found.min())
        assert ratio <= bound, f"({rows}, {columns}): condition number {ratio:.2f}, promised at most {bound}"


def follows_the_schedule(subject: Subject) -> None:
    """A new ``lr`` in a group holds from the next step on; with learning rate 0 no parameter changes."""
    start = _start()
    steps = gradients(start, 3)

    def prepared() -> tuple[Bag, torch.optim.Optimizer]:
        bag = Bag([t.clone() for t in start])
        optimizer = subject.build(bag, lr=1e-2, weight_decay=0.0)
        drive(optimizer, bag.tensors(), steps)
        return bag, optimizer

    bag, optimizer = prepared()
    schedule = LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.0)
    drive(optimizer, bag.tensors(), gradients(start, 1, seed=6))
    schedule.step()
    before = [p.detach().clone() for p in bag.tensors()]
    drive(optimizer, bag.tensors(), gradients(start, 1, seed=7))
    for p, old in zip(bag.tensors(), before, strict=True):
        assert torch.equal(p.detach(), old), "a parameter moved although the schedule had set lr to 0"
    moves = []
    for factor in (1.0, 0.5):
        bag, optimizer = prepared()
        before = [p.detach().clone() for p in treated(subject, optimizer)]
        for group in optimizer.param_groups:
            group["lr"] *= factor
        drive(optimizer, bag.tensors(), gradients(start, 1, seed=8))
        moves.append([p.detach() - old for p, old in zip(treated(subject, optimizer), before, strict=True)])
    for whole, half in zip(*moves, strict=True):
        assert not torch.equal(whole, half), "an edited group['lr'] was ignored"
        if subject.traits.linear_in_lr:
            assert error(half, 0.5 * whole) < 1e-6, "half the learning rate must give half the step"
