"""Rules about updates: that they reduce the loss, and follow learning rate, weight decay and scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ultra_core.contracts import ParamInfo
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

SHAPES = ((6, 10), (12, 4), (7,))


def _start(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


SMALL = ((), (1,), (2,), (1, 1), (1, 4), (4, 1), (3, 2, 4), (2, 3, 1, 2))
"""Shapes that are easily forgotten: scalars, single elements, rows, columns, convolutions."""


def moves_everything(subject: Subject) -> None:
    """Every parameter that gets gradients is updated, whatever its shape and initial value.

    Scalars and tensors of one element are tried too. The first step moves nothing that the method itself
    treats where the traits say so (``idle_first_step``).

    Fix: update parameters of every shape, also those that are zero; a step in proportion to ``|p|`` needs a
    lower bound.
    """
    model = seeded_net()
    optimizer = subject.build(model, lr=1e-3, weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    if subject.traits.idle_first_step:
        train(model, optimizer, 1)
        own = set(treated(subject, optimizer))
        moved = {name: p for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        early = [name for name, p in moved.items() if p in own]
        assert not early, f"traits.idle_first_step: these parameters moved in the first step: {early}"
    train(model, optimizer, 10)
    still = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and float((p.detach() - before[name]).abs().max()) < 1e-6 * 1e-3
    ]
    assert not still, f"these parameters did not move in ten steps: {still}"
    start = [torch.ones(shape, dtype=torch.float64) for shape in SMALL]
    moves = displacement(subject, start, gradients(start, 4), lr=1e-2, weight_decay=0.0)
    resting = [tuple(move.shape) for move in moves if subject.takes(move) and not move.any()]
    assert not resting, f"tensors of these shapes did not move in four steps: {resting}"


def reduces_the_loss(subject: Subject) -> None:
    """With some learning rate, 150 steps halve the loss of a small network and of a quadratic.

    0.01, 0.1 and 0.001 are tried, and the default of the optimizer.

    Fix: look at the sign of the step, and at the default learning rate.
    """
    rates = dict.fromkeys((1e-2, 1e-1, 1e-3, subject.default_rate))  # the most promising one first
    for name, fall in (("network", _fall_of_a_network), ("quadratic", _fall_of_a_quadratic)):
        best = float("inf")
        for lr in rates:
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
    """Gradients multiplied by c give the same update, or c times the update, as the traits declare.

    Fix: compare ``eps`` with the gradient; or declare ``OptimizerTraits(gradient_scale="other")``.
    """
    start = _start()
    base = displacement(subject, start, gradients(start, 5, scale=1e4), lr=1e-3, weight_decay=0.0)
    for c in (1e-3, 1e3):
        scaled = gradients(start, 5, scale=1e4 * c)
        moved = displacement(subject, start, scaled, lr=1e-3, weight_decay=0.0)
        factor = c if subject.traits.gradient_scale == "linear" else 1.0
        worst = max(error(m, factor * b) for m, b in zip(moved, base, strict=True))
        assert worst < 1e-3, f"gradients times {c:g}: the update differs from the expected one by {worst:.1e}"


def is_linear_in_the_rate(subject: Subject) -> None:
    """The first displacement is proportional to the learning rate.

    Fix: multiply the whole step by ``group["lr"]``; or declare ``OptimizerTraits(linear_in_lr=False)``.
    """
    start = _start()
    steps = gradients(start, 2 if subject.traits.idle_first_step else 1)
    once = displacement(subject, start, steps, lr=1e-3, weight_decay=0.0)
    twice = displacement(subject, start, steps, lr=2e-3, weight_decay=0.0)
    worst = max(error(t, 2 * o) for t, o in zip(twice, once, strict=True))
    assert worst < 1e-6, f"the displacement is not proportional to lr: {worst:.1e}"


def decays_what_it_should(subject: Subject) -> None:
    """Weight decay is applied as the traits declare, and never to parameters with ``decay=False``.

    Fix: read ``group["weight_decay"]``, which is 0 in groups that must not decay, and declare how it acts:
    ``OptimizerTraits(decay="coupled")`` if it is added to the gradient.
    """
    start = _start()
    infos = {"p1": ParamInfo(kind="matrix", decay=False), "p2": ParamInfo(kind="vector", decay=False)}
    steps = gradients(start, 2 if subject.traits.idle_first_step else 1)

    def moved(weight_decay: float, steps: list[list[Tensor]] = steps) -> list[Tensor]:
        bag = Bag([t.clone() for t in start], infos)
        drive(subject.build(bag, lr=0.01, weight_decay=weight_decay), bag.tensors(), steps)
        return [p.detach() - t for p, t in zip(bag.tensors(), start, strict=True)]

    plain, decayed = moved(0.0), moved(0.5)
    for index in (1, 2):
        apart = float((plain[index] - decayed[index]).abs().max())
        assert torch.equal(plain[index], decayed[index]), (
            f"{SHAPES[index]}, whose group has weight_decay 0, was decayed: it moves by {apart:.1e} more"
        )
    rule = subject.traits.decay
    moves = not torch.equal(decayed[0], plain[0])
    assert moves == (rule != "none"), (
        f"traits.decay is {rule}, and weight_decay {'acts' if moves else 'does not act'}"
    )
    if rule == "coupled":
        fed = [[grads[0] + 0.5 * start[0], *grads[1:]] for grads in steps]
        worst = error(decayed[0], moved(0.0, fed)[0])
        assert worst < 1e-6, f"coupled decay must add weight_decay * p to the gradient; off by {worst:.1e}"
    elif not subject.traits.idle_first_step and rule in _DECAYED:
        worst = min(error(decayed[0], expected) for expected in _DECAYED[rule](start[0], plain[0]))
        assert worst < 1e-7, f"{rule} decay is not what the traits say it does; off by {worst:.1e}"


_DECAYED: dict[str, Callable[[Tensor, Tensor], Sequence[Tensor]]] = {
    "decoupled": lambda p, step: (step - 0.005 * p, step - 0.005 * (p + step)),  # before or after the step
    "proximal": lambda p, step: ((p + step) / 1.005 - p,),
}
"""The displacement of a parameter, for each rule, by a step without decay and lr times weight decay 0.005."""


def bounds_its_updates(subject: Subject) -> None:
    """After ten steps, rms(update) / lr is at most ``traits.max_update_rms``.

    Fix: declare the bound that the formula gives, or None if there is none.
    """
    start = _start()
    bag = Bag([t.clone() for t in start])
    optimizer = subject.build(bag, lr=1e-3, weight_decay=0.0)
    drive(optimizer, bag.tensors(), gradients(start, 10))
    before = [p.detach().clone() for p in bag.tensors()]
    drive(optimizer, bag.tensors(), gradients(start, 1, seed=5))
    bound = subject.traits.max_update_rms or float("inf")
    for p, old in zip(bag.tensors(), before, strict=True):
        rms = float((p.detach() - old).square().mean().sqrt()) / 1e-3
        assert rms <= bound * (1 + 1e-6), (
            f"rms(update) / lr of {tuple(p.shape)} is {rms:.2f}, promised at most {bound}"
        )


def evens_the_singular_values(subject: Subject) -> None:
    """The condition number of the update of a matrix is at most ``traits.max_condition``, for every shape.

    Fix: take more iterations, or declare the bound that they give.
    """
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
    """A new ``lr`` in a group holds from the next step on; with learning rate 0 no parameter changes.

    Where the learning rate is part of the momentum (trait ``lr_in_momentum``), 300 steps with learning rate 0
    must bring all parameters to rest.

    Fix: read ``group["lr"]`` in every step, and multiply the whole step by it. What moves by an average of
    earlier steps, their learning rates included, declares ``OptimizerTraits(lr_in_momentum=True)``; a
    method that reads the rate in the first step only, as Rprop, ``initial_lr=True, own_schedule=True``.
    """
    start = _start()
    steps = gradients(start, 3)

    def prepared() -> tuple[Bag, torch.optim.Optimizer]:
        bag = Bag([t.clone() for t in start])
        optimizer = subject.build(bag, lr=1e-2, weight_decay=0.0)
        drive(optimizer, bag.tensors(), steps)
        return bag, optimizer

    bag, optimizer = prepared()
    schedule = LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.0)
    usual = _largest_move(optimizer, bag, seed=6)
    schedule.step()
    slack = 1e-3 * usual if subject.traits.lr_in_momentum else 0.0
    if slack:
        drive(optimizer, bag.tensors(), gradients(start, 300, seed=9))
    moved = _largest_move(optimizer, bag, seed=7)
    assert moved <= slack, (
        f"a parameter moved by {moved:.1e} although the schedule had set lr to 0"
        f"{' 300 steps ago' if slack else ''}; steps before were {usual:.1e}"
    )
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
        if subject.traits.linear_in_lr and not subject.traits.lr_in_momentum:
            assert error(half, 0.5 * whole) < 1e-6, "half the learning rate must give half the step"


def _largest_move(optimizer: torch.optim.Optimizer, bag: Bag, seed: int) -> float:
    before = [p.detach().clone() for p in bag.tensors()]
    drive(optimizer, bag.tensors(), gradients(before, 1, seed=seed))
    return max(float((p.detach() - old).abs().max()) for p, old in zip(bag.tensors(), before, strict=True))
