"""The path of every optimizer on two functions of two variables, as small, reproducible SVG files.

The numbers are the diagonal of a 2 x 2 matrix, so that matrix methods act; what is beside it has its minimum
at the 0 where it starts.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import torch
from torch import Tensor

import ultra_optim
from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_optim.contract.traits import traits_of
from ultra_optim.testing.subject import Bag

STEPS = 100
FACTORS = (0.1, 1.0, 10.0, 100.0, 300.0)
"""Factors of the default learning rate, which is for networks, whose weights move less far."""


@attrs.frozen
class Surface:
    """A sum of squares of functions of x and y, with its start, its minimum and the region to show."""

    name: str
    residuals: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    start: tuple[float, float]
    minimum: tuple[float, float]
    x: tuple[float, float]
    y: tuple[float, float]

    def value(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack(self.residuals(x, y)).square().sum(0)


SURFACES = (
    Surface(
        "Rosenbrock", lambda x, y: (10 * (y - x.square()), 1 - x),
        (-1.2, 1.0), (1.0, 1.0), (-2.0, 2.0), (-1.0, 3.0),
    ),
    Surface(
        "Beale", lambda x, y: (1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3),
        (1.0, 1.5), (3.0, 0.5), (-0.5, 4.5), (-2.0, 2.0),
    ),
)  # fmt: skip


def path(name: str, surface: Surface, rate: float) -> tuple[list[tuple[float, float]], float]:
    """Return the points, averaged ones for methods that average, and the last value."""
    bag = Bag([torch.diag(torch.tensor(surface.start))])
    (weight,) = bag.parameters()
    traits = traits_of(optimizers.get(name))
    options = {} if traits.decay == "none" else {"weight_decay": 0.0}
    if "unconstrained" in read_options(optimizers.get(name)):
        options["unconstrained"] = True
    optimizer = ultra_optim.build(name, bag, lr=rate, total_steps=STEPS, **options)

    def loss() -> Tensor:
        beside = weight - torch.diag(weight.diagonal())
        return surface.value(*weight.diagonal()) + beside.square().sum() / 2

    def sampled() -> int:
        """Draw normal labels around the residuals: the mean square of the gradient is the curvature."""
        residuals = torch.stack(surface.residuals(*weight.diagonal()))
        noise = torch.randn(residuals.shape, generator=generator)
        (math.sqrt(2) * noise * residuals).sum().backward()
        return 1

    generator = torch.Generator().manual_seed(0)
    points = [surface.start]
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if traits.needs_curvature and optimizer.curvature_due:
            optimizer.curvature_step(sampled)
        if traits.eval_weights:
            optimizer.eval()
        x, y = weight.detach().diagonal().tolist()
        if traits.eval_weights:
            optimizer.train()
        if not (math.isfinite(x) and math.isfinite(y)):
            return points, math.inf
        points.append((x, y))
    last = float(surface.value(*torch.tensor(points[-1], dtype=torch.float64)))
    return points, last if math.isfinite(last) else math.inf


def best_path(name: str, surface: Surface) -> tuple[list[tuple[float, float]], float, float]:
    """Return the points, the last value and the learning rate of the best factor."""
    default = read_options(optimizers.get(name))["lr"].default
    tried = [(*path(name, surface, factor * default), factor * default) for factor in FACTORS]
    return min(tried, key=lambda one: one[1])


def draw(name: str) -> str:
    """Return the plot of an optimizer as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    settings = {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 8, "path.simplify": True}
    with matplotlib.rc_context(settings):
        figure, panels = pyplot.subplots(1, len(SURFACES), figsize=(7.2, 3.2), layout="constrained")
        for panel, surface in zip(panels, SURFACES, strict=True):
            points, last, rate = best_path(name, surface)
            x, y = torch.linspace(*surface.x, 30), torch.linspace(*surface.y, 30)
            heights = surface.value(*torch.meshgrid(x, y, indexing="xy"))
            levels = torch.logspace(0, 3, 7).tolist()
            panel.contour(x, y, heights, levels=levels, colors="0.75", linewidths=0.6)
            panel.plot(*zip(*points, strict=True), color="tab:blue", linewidth=1)
            panel.plot(*surface.start, "o", color="tab:blue", markersize=3)
            panel.plot(*surface.minimum, "*", color="tab:red", markersize=7)
            panel.set(xlim=surface.x, ylim=surface.y)
            panel.set_title(f"{surface.name}: lr {rate:.3g}, {STEPS} steps to {last:.1e}")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return compact(buffer.getvalue())


def compact(svg: str) -> str:
    """Round the coordinates of lines to a tenth of a point."""

    def shorter(line: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", line[0])

    rounded = re.sub(r' d="[^"]*"', shorter, svg)
    return "".join(f"{line.strip()}\n" for line in rounded.splitlines())


def main(names: Sequence[str], folder: Path) -> None:
    """Write a file for each optimizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.svg").write_text(draw(name), encoding="utf-8")
