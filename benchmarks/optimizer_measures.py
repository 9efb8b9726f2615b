"""Measurements of an optimizer for ``optimizers.py``: seconds of each side, refreshes, products, state."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import harness
import torch
from optimizer_memory import as_declared
from optimizer_peers import PEERS, REFRESH, TORCH, Peer
from optimizer_sides import SLOW, Load, Parts, Side, Steps, take_turns
from torch.utils.flop_counter import FlopCounterMode

import ultra_optim
from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_optim.contract.traits import MATRIX_KINDS
from ultra_optim.engine.sizes import CACHED_BATCH
from ultra_optim.families.matrices import matrices_in, matrix_layout

RATES = {"prodigy": 1.0}
"""Learning rates other than 1e-4."""

ONLY_READ = {"prodigy": "p0", "sophia": "curvature"}
"""State tensors that a step reads and does not write."""

READ_AGAIN = {"cautious_adamw": 2, "lamb": 3, "mars_adamw": 2, "stable_adamw": 2}
"""Numbers for each element that a method must read twice, because the update needs a norm or mean first."""

READ_AGAIN_AFTER_ALL = {"prodigy": 3}
"""The same where the norm or mean is over all tensors."""

PRODUCT = 1024
"""Side of the square matrices whose product measures the speed of the machine."""

PRODUCTS = 16
"""Number of products that are timed together: about the work of a third of a step."""


@attrs.frozen
class Plan:
    """The settings of a measurement.

    Attributes:
        rounds: timed steps of each side.
        budget: seconds of timed steps after which a side drops out.
        peers: whether to measure other libraries.
        compiled: whether to measure ours with ``compile=True`` and, on a CPU, with ``compile=False``.
    """

    rounds: int
    budget: float
    peers: bool = True
    compiled: bool = False


@attrs.frozen
class Result:
    """The measurements of one optimizer; the time of refreshes is divided by their interval.

    Attributes:
        name: name of the optimizer.
        seconds: seconds of a step, by side: ``adamw``, ``ultra``, ``compiled``, ``pytorch_optimizer``, ...
        steps: number of timed steps of ours, and the smallest number of a peer.
        refresh: fraction of the time of a step that refreshes take, by side.
        traffic: bytes that a step must move, relative to AdamW.
        state: bytes of state for each parameter element.
        declared: whether the state of hidden matrices has the size in the docstring, for float32 parameters.
        compiling: seconds of the first step of ours beyond a later one.
        products: multiply-adds of the matrix products of a step, and those that the iteration needs.
        rate: multiply-adds per second of square products in the same rounds.
    """

    name: str
    seconds: Mapping[str, float]
    steps: tuple[int, int]
    refresh: Mapping[str, float]
    traffic: float
    state: float
    declared: bool
    compiling: float | None = None
    products: tuple[float, float] | None = None
    rate: float | None = None

    def against(self, side: str) -> float:
        """Return the seconds of a side relative to ours."""
        return self.seconds[side] / self.seconds["ultra"]

    def by_bytes(self, side: str = "ultra") -> float:
        """Return the seconds of a side relative to those of fused AdamW for the same number of bytes."""
        return self.seconds[side] / (self.traffic * self.seconds["adamw"])

    @property
    def fastest(self) -> float | None:
        """Return the seconds of the faster of pytorch_optimizer and HeavyBall relative to ours."""
        found = [self.against(p) for p in ("pytorch_optimizer", "heavyball") if p in self.seconds]
        return min(found) if found else None

    @property
    def of_the_rate(self) -> float | None:
        """Return the multiply-adds per second of the whole step, relative to those of square products."""
        return self.products[0] / self.seconds["ultra"] / self.rate if self.products and self.rate else None


def orthogonalizes(name: str) -> bool:
    """Whether an optimizer orthogonalises by an iteration."""
    return "ns_steps" in read_options(optimizers.get(name))


def batches(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names that are measured in the same rounds: relatives of Muon share slow peers."""
    if family := [name for name in names if orthogonalizes(name)]:
        yield family
    yield from ([name] for name in names if name not in family)


def ours(name: str, **options: Any) -> Callable[[Parts], Steps]:
    rate = RATES.get(name, 1e-4)
    return lambda parts: ultra_optim.build(name, parts.model, lr=rate, total_steps=1000, **options)


def variants(name: str, plan: Plan, device: str) -> dict[str, dict[str, Any]]:
    """Return the options of our sides."""
    known = read_options(optimizers.get(name))
    found: dict[str, dict[str, Any]] = {"ultra": {}}
    if device != "cpu" and "fused" in known:
        found["foreach"] = {"fused": False}
    if plan.compiled and "compile" in known:
        found["compiled"] = {"compile": True}
        if device == "cpu":
            found["eager"] = {"compile": False}
    return found


def sides_of(load: Load, name: str, plan: Plan) -> dict[tuple[str, str], Side]:
    """Return the sides of a name by library and by ``plain`` or ``refreshed``."""
    refresh = REFRESH.get(name)
    makers: dict[str, tuple[Callable[..., Callable[[Parts], Steps]], int | None]] = {
        side: (lambda _options=options, **more: ours(name, **_options, **more), None)
        for side, options in variants(name, plan, load.device).items()
    }
    for library, classes in PEERS.items():
        peer = classes.get(name)
        if plan.peers and peer is not None and not (library == "torch" and orthogonalizes(name)):
            layers = peer.layers if load.device == "cpu" else None
            makers[library] = (of_peer(peer), layers)
    sides: dict[tuple[str, str], Side] = {}
    for side, (maker, layers) in makers.items():
        never, always = refresh.ways.get(side, ({}, None)) if refresh else ({}, None)
        sides[side, "plain"] = Side(load, maker(**never), layers)
        if always is not None:
            sides[side, "refreshed"] = Side(load, maker(**always), layers)
    return sides


def of_peer(peer: Peer) -> Callable[..., Callable[[Parts], Steps]]:
    return lambda **options: lambda parts: peer.make(parts, **options)


def square_products(load: Load) -> Callable[[], float]:
    """Return a function that times a product of square matrices of the dtype."""
    a, b = (torch.randn(PRODUCT, PRODUCT).to(load.device, load.dtype) for _ in range(2))

    def take() -> float:
        load.wait()
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            a @ b
        load.wait()
        return (time.perf_counter() - start) / PRODUCTS

    return take


def measure(load: Load, names: Sequence[str], plan: Plan) -> list[Result]:
    """Measure optimizers in the same rounds as fused AdamW and their peers."""
    works: dict[tuple[str, str, str], Any] = {
        (name, *key): side for name in names for key, side in sides_of(load, name, plan).items()
    }
    works["", "adamw", "plain"] = Side(load, lambda parts: TORCH["adamw"].make(parts))
    if plan.peers and orthogonalizes(names[0]):
        muon = TORCH["muon"]
        layers = muon.layers if load.device == "cpu" else None
        works["", "torch.optim.Muon", "plain"] = Side(load, lambda parts: muon.make(parts), layers)
    first = {key: side.warm_up(plan.budget) for key, side in works.items()}
    limits = {key: plan.budget / (SLOW if side.sampled else 1) for key, side in works.items()}
    given = {
        key: first[key]
        for key, side in works.items()
        if side.sampled and first[key] > limits[key] and key[0] not in REFRESH
    }
    if orthogonalizes(names[0]):
        works["", "matmul", "plain"] = square_products(load)
        limits["", "matmul", "plain"] = plan.budget
    figures = take_turns(works, plan.rounds, limits, given)
    for work in works.values():
        if isinstance(work, Side):
            work.check()
    results = [result(load, name, works, figures, first) for name in names]
    del works
    gc.collect()
    return results


def result(load: Load, name: str, works: Any, figures: Any, first: Any) -> Result:
    """Collect the measurements of one optimizer."""
    medians = {
        (key[1], key[2]): harness.median(f) * getattr(works[key], "factor", 1)
        for key, f in figures.items()
        if key[0] in (name, "")
    }
    seconds = {side: value for (side, way), value in medians.items() if way == "plain"}
    product = seconds.pop("matmul", None)
    shares = {}
    for side in list(seconds):
        if (side, "refreshed") in medians:
            extra = max(0.0, medians[side, "refreshed"] - seconds[side]) / REFRESH[name].interval
            seconds[side] += extra
            shares[side] = extra / seconds[side]
    mine, adamw = works[name, "ultra", "plain"], works["", "adamw", "plain"]
    counts = [len(f) for (n, side, _), f in figures.items() if n == name and side in PEERS]
    compiling = None
    if "compiled" in seconds:
        compiling = max(0.0, *(first[name, s, "plain"] - seconds[s] for s in ("ultra", "compiled")))
    done = None
    if orthogonalizes(name):
        done = multiply_adds(mine), needed(mine.optimizer)
    return Result(
        name=name, seconds=seconds, refresh=shares, compiling=compiling, products=done,
        steps=(len(figures[name, "ultra", "plain"]), min(counts, default=0)),
        traffic=moved_bytes(mine, name) / moved_bytes(adamw),
        state=mine.state_bytes() / load.numbers,
        declared=load.dtype != torch.float32 or as_declared(name, mine),
        rate=PRODUCT**3 / product if product else None,
    )  # fmt: skip


def moved_bytes(side: Side, name: str = "adamw") -> int:
    """Return the bytes that a step must move: read and write parameter and state, read the gradient.

    Numbers that must be read twice count twice for tensors that do not stay in the cache in between.
    """
    state = side.optimizer.state  # type: ignore[attr-defined]
    total = 2 * side.state_bytes()
    for p in side.held:
        again = READ_AGAIN.get(name, 0) if p.numel() > CACHED_BATCH else 0
        total += p.numel() * p.element_size() * (3 + again + READ_AGAIN_AFTER_ALL.get(name, 0))
        if name in ONLY_READ:
            total -= state[p][ONLY_READ[name]].numel() * state[p][ONLY_READ[name]].element_size()
    return total


def multiply_adds(side: Side) -> float:
    """Count the multiply-adds of the matrix products of one step."""
    in_place = {
        torch.ops.aten.addmm_: lambda self, a, b, *_, **__: 2 * a[0] * a[1] * b[1],
        torch.ops.aten.baddbmm_: lambda self, a, b, *_, **__: 2 * a[0] * a[1] * a[2] * b[2],
    }
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        side()
    return counter.get_total_flops() / 2


def needed(optimizer: Any) -> float:
    """Return the multiply-adds of X X^T, A A and (b A + c A A) X on the shorter side, all iterations."""
    total = 0
    for group in optimizer.param_groups:
        if group["kind"] not in MATRIX_KINDS:
            continue
        layout = matrix_layout(group)
        for p in group["params"]:
            for batch, rows, columns in (m.shape for m in matrices_in(p, *layout[p])):
                short, long = sorted((rows, columns))
                total += group["ns_steps"] * batch * (2 * short**2 * long + short**3)
    return total
