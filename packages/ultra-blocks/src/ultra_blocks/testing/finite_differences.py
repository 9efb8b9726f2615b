"""Gradients against finite differences, as exactly as the traits of a plugin allow."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck

from ultra_blocks.testing.cases import Case, gradients
from ultra_blocks.testing.differences import check_finite
from ultra_core.testing import Finding

Function = Callable[[Tensor], Tensor]

SLOPE_ERRORS = {torch.float64: 1e-4, torch.float32: 1e-2, torch.bfloat16: 8e-2}
"""Largest relative error of the slope along the gradient, by the dtype that a module rounds to."""

STEPS = {
    torch.float64: (1e-5, 1e-6, 1e-7),
    torch.float32: (1e-2, 3e-3, 1e-3),
    torch.bfloat16: (3e-1, 1e-1, 3e-2),
}
"""Lengths of the steps, relative to the length of the point; the best balances rounding and curvature."""

FINER = {
    "fp32": {torch.float64: (1e-8,)},
    "bf16": {torch.float64: (1e-8,), torch.float32: (3e-4,)},
}
"""By declared precision, the dtypes that are finer, with steps within which what rounds to it is constant."""

POINTS = 17
BISECTIONS = 40
"""The number of points on a line among which a jump is sought, and of halvings of the interval around it."""

NEIGHBOURS, SMOOTHING = 16, 0.3
"""The number of points over which slopes across jumps are averaged, and their relative distance."""

SLOPE_RATIOS = (0.2, 2.0)
"""Smallest and largest ratio of the mean slope to the mean gradient; rounding to a sign gives about 0.5."""


def check_gradients(case: Case, function: Function, x: Tensor, module: nn.Module) -> None:
    """Raise a finding unless the gradients of input and parameters are those of the function.

    Without traits, they agree with finite differences in fp64. With a ``precision``, the slope along the
    gradient does, within the rounding of that dtype. With ``straight_through``, the function has jumps, and
    rises along its gradients over steps that are longer than these.

    Args:
        case: the plugin, for its traits.
        function: maps ``x`` to the output of ``module``.
        x: the input in fp64.
        module: the module whose parameters are checked too.

    Raises:
        Finding: they are not.
    """
    if case.traits.straight_through:
        _check_jumps(function, x, module)
        _check_direction(function, x, module)
        return
    dtype = case.rounds_to(x.dtype)
    _check_slopes(function, x, module, dtype, STEPS[dtype])  # fast, and its message names the tensor
    if case.traits.precision is None:
        trained = (parameter for parameter in module.parameters() if parameter.requires_grad)
        leaves = [x.detach().requires_grad_(), *trained]
        try:
            gradcheck(lambda x, *_: function(x), leaves, atol=1e-6, rtol=1e-4, fast_mode=True)
        except GradcheckError as error:
            raise Finding(" ".join(str(error).split())[:300]) from error


def check_precision(case: Case, function: Function, x: Tensor, module: nn.Module) -> None:
    """Raise a finding if a ``precision`` is declared, but gradients are those of a finer dtype.

    Args:
        case: the plugin, for its traits.
        function: maps ``x`` to the output of ``module``.
        x: the input in fp64, of several tokens.
        module: the module whose parameters are checked too.

    Raises:
        Finding: the trait would hide errors, and is not needed.
    """
    for dtype, steps in FINER.get(case.traits.precision or "", {}).items():
        try:
            _check_slopes(function, x, module, dtype, steps)
        except Finding:
            continue
        needed = "leave the trait out" if dtype == torch.float64 else 'declare `precision="fp32"`'
        raise Finding(
            f"the traits declare precision={case.traits.precision!r}, but gradients are exact in "
            f"{'fp64' if dtype == torch.float64 else 'fp32'}",
            fix=f"{needed}, so that the kit compares as closely as it can",
        )


def _leaves(x: Tensor, module: nn.Module) -> dict[str, Tensor]:
    return {"the input": x, **{name: p for name, p in module.named_parameters() if p.requires_grad}}


def _found(function: Function, x: Tensor, module: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """Return the gradients of a weighted sum of the outputs, by name, and the weights."""
    leaf = x.detach().clone().requires_grad_()
    y = function(leaf)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype).to(y.dtype)
    leaves = _leaves(leaf, module)
    found = dict(zip(leaves, gradients(y, weight, list(leaves.values())), strict=True))
    check_finite(
        {f"the gradient of {name}": g for name, g in found.items()}, "in evaluation, at random input"
    )
    return found, weight


@torch.no_grad()
def _check_slopes(
    function: Function, x: Tensor, module: nn.Module, dtype: torch.dtype, steps: tuple[float, ...]
) -> None:
    """Compare the length of each gradient with the slope of the function along it."""
    with torch.enable_grad():
        found, weight = _found(function, x, module)
    limit = SLOPE_ERRORS[dtype]
    point = x.detach().clone()
    largest = max(float(g.double().norm()) for g in found.values())
    for name, leaf in _leaves(point, module).items():
        length = float(found[name].double().norm())
        if length <= limit * largest:
            continue
        direction = (found[name].double() / length).to(leaf.dtype)
        slopes: list[float] = []
        while len(slopes) < len(steps) and not any(abs(slope - length) <= limit * length for slope in slopes):
            by = steps[len(slopes)] * max(float(leaf.double().norm()), 1e-3)
            ends = [_moved(function, point, leaf, sign * by * direction, weight) for sign in (1, -1)]
            slopes.append((ends[0] - ends[1]) / (2 * by))
        slope = min(slopes, key=lambda slope: abs(slope - length))
        error = abs(slope - length) / length
        if not error <= limit:
            raise Finding(
                f"along the gradient of {name} {tuple(leaf.shape)} the function rises by {slope:.6g} a unit, "
                f"but the gradient says {length:.6g} (relative error {error:.1e}, limit {limit:.0e})"
            )


def _moved(function: Function, point: Tensor, leaf: Tensor, by: Tensor, weight: Tensor) -> float:
    before = leaf.detach().clone()
    leaf.copy_(before + by)
    value = float((function(point).double() * weight.double()).sum())
    leaf.copy_(before)
    return value


@torch.no_grad()
def _check_jumps(function: Function, x: Tensor, module: nn.Module) -> None:
    """Raise a finding unless the function jumps along some line, which makes finite differences useless."""
    point = x.detach().clone()
    for leaf in _leaves(point, module).values():
        g = torch.Generator().manual_seed(5)
        line = torch.randn(leaf.shape, generator=g, dtype=torch.float64).to(leaf.dtype) * leaf.abs().mean()
        before = leaf.detach().clone()

        def at(t: float, leaf: Tensor = leaf, line: Tensor = line, before: Tensor = before) -> Tensor:
            leaf.copy_(before + t * line)
            return function(point).double()

        times = [t / (POINTS - 1) for t in range(POINTS)]
        values = [at(t) for t in times]
        gaps = [float((b - a).abs().max()) for a, b in itertools.pairwise(values)]
        k = max(range(len(gaps)), key=gaps.__getitem__)
        (low, high), (left, right) = times[k : k + 2], values[k : k + 2]
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            value = at(middle)
            if (value - left).abs().max() > (right - value).abs().max():
                high, right = middle, value
            else:
                low, left = middle, value
        leaf.copy_(before)
        if float((right - left).abs().max()) > 1e-9 * float(right.abs().max()):
            return
    raise Finding(
        "the traits declare straight_through, but the output has no jump along a line of the input or of a "
        "parameter",
        fix="leave the trait out, so that gradients are compared with finite differences",
    )


def _check_direction(function: Function, x: Tensor, module: nn.Module) -> None:
    """Raise a finding unless the function rises along its gradients, over steps longer than its jumps.

    Slopes and gradients are means over points nearby, which smooth the jumps.
    """
    found, weight = _found(function, x, module)
    for name, g in found.items():
        if not g.any():
            raise Finding(f"the gradient of {name} {tuple(g.shape)} is zero")
    point = x.detach().clone()
    leaves = _leaves(point, module)
    before = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    sizes = {name: float(leaf.double().square().mean().sqrt()) + 1e-3 for name, leaf in before.items()}
    slopes: dict[str, list[tuple[float, float]]] = {name: [] for name in leaves}
    generator = torch.Generator().manual_seed(6)
    for _ in range(NEIGHBOURS):
        with torch.no_grad():
            for name, leaf in leaves.items():
                noise = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.dtype)
                leaf.copy_(before[name] + SMOOTHING * sizes[name] * noise)
        near, _ = _found(function, point, module)
        for name, leaf in leaves.items():
            length = float(near[name].double().norm()) + 1e-30
            by = SMOOTHING * sizes[name] * leaf.numel() ** 0.5
            with torch.no_grad():
                up, down = (
                    _moved(function, point, leaf, sign * by / length * near[name], weight) for sign in (1, -1)
                )
            slopes[name].append(((up - down) / (2 * by), length))
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf.copy_(before[name])
    for name, pairs in slopes.items():
        slope, length = (sum(numbers) / NEIGHBOURS for numbers in zip(*pairs, strict=True))
        if not SLOPE_RATIOS[0] <= slope / length <= SLOPE_RATIOS[1]:
            raise Finding(
                f"along the gradient of {name} {tuple(found[name].shape)} the function rises by {slope:.3g} "
                f"a unit, over long steps, but the gradient says {length:.3g}: the ratio is not between "
                f"{SLOPE_RATIOS[0]} and {SLOPE_RATIOS[1]}"
            )
