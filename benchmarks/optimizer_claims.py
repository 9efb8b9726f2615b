"""Claims about the optimizers: ratios to named peers, their bounds, and whether they hold."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

import attrs
import harness
from optimizer_measures import Result, orthogonalizes

from ultra_core import optimizers
from ultra_optim.contract.traits import traits_of

COMPILED = {"lion": 0.6 * 7 / 5}
"""Bounds of compiled steps relative to fused AdamW by bytes, if not 1.2: Lion moves 5 of 7 numbers."""


BY_ROWS = ("adafactor", "adam_mini", "came")
"""Methods that treat all tensors alike and have state for each row, so that they are not element-wise."""


@attrs.frozen
class Claim:
    """A figure, the bound that it must satisfy, and the aim that it should satisfy."""

    text: str
    measured: float
    bound: str
    aim: str = ""

    @staticmethod
    def _satisfies(figure: float, bound: str) -> bool:
        sign, number = bound.split()
        return {"<=": operator.le, ">=": operator.ge}[sign](figure, float(number))

    @property
    def held(self) -> str:
        """Whether the figure satisfies the bound and the aim."""
        if not self._satisfies(self.measured, self.bound):
            return "NO"
        return "yes" if not self.aim or self._satisfies(self.measured, self.aim) else "yes, short of the aim"

    def row(self) -> list[str]:
        target = f"{self.bound}, aim {self.aim.split()[1]}" if self.aim else self.bound
        return [self.text, f"{self.measured:.2f}", target, self.held]


def claims(result: Result, size: str) -> Iterator[Claim]:
    """Yield the claims about an optimizer at a size."""
    name, at = result.name, "" if size == "encoder" else f", {size}"
    if result.fastest is not None:
        yield Claim(f"fastest peer / {name}{at}", result.fastest, ">= 1", ">= 1.5")
    if not traits_of(optimizers.get(name)).matrix and name not in BY_ROWS:
        yield Claim(f"{name} / fused AdamW by bytes{at}", result.by_bytes(), "<= 1.5")
    if "compiled" in result.seconds:
        bound = f"<= {COMPILED.get(name, 1.2):.2f}"
        yield Claim(f"{name} compiled / fused AdamW by bytes{at}", result.by_bytes("compiled"), bound)
    if orthogonalizes(name):
        for peer in ("torch.optim.Muon", "pytorch_optimizer"):
            if peer in result.seconds:
                yield Claim(f"{peer} / {name}{at}", result.against(peer), ">= 2")
        if result.of_the_rate is not None:
            yield Claim(f"{name}, share of the matmul rate{at}", result.of_the_rate, ">= 0.75")


def table(results: Sequence[tuple[str, Result]]) -> str:
    """Return the claims of (size, result) as a table."""
    found = [claim for size, result in results for claim in claims(result, size)]
    holding = sum(claim.held != "NO" for claim in found)
    rows = [claim.row() for claim in found]
    return f"{harness.table(['claim', 'measured', 'target', 'held'], rows)}\n\n{holding} of {len(rows)} hold."
