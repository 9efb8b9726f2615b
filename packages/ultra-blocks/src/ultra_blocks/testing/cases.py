"""A plugin under test, built at a small size; one class for each kind of plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing.draws import Batch
from ultra_blocks.testing.seeding import seeded
from ultra_blocks.traits import NumericTraits, Traits
from ultra_core.errors import PluginError
from ultra_core.plugins.signatures import bind, read_options

ROUNDING = 1e-13
"""Relative error in fp64 between two paths of a fused kernel (of training and evaluation, for example)."""

MODEL = {"num_heads": 2, "retention_heads": 2, "dropout": 0.0, "num_layers": 2, "num_loops": 1}
"""Fields of a small model, for parameters that read them; options of a case take precedence."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Values of the trait ``precision``, and their dtypes."""

ERRORS = {torch.float64: 1e-12, torch.float32: 5e-5, torch.bfloat16: 2e-2}
"""Largest relative error between two ways to the same number, by the dtype that a module computes in."""


@attrs.frozen(kw_only=True)
class Case:
    """A plugin class, its options, and the width at which it is tested."""

    name: str
    cls: Any
    options: Mapping[str, Any] = attrs.field(factory=dict)
    hidden_size: int = 16

    def __str__(self) -> str:
        return self.name

    @property
    def traits(self) -> NumericTraits:
        """The traits that the class declares; rule C1 reports any that are of another type."""
        return _declared(self.cls, NumericTraits)

    def rounds_to(self, dtype: torch.dtype) -> torch.dtype:
        """Return the coarser of a dtype and of the precision that the traits declare."""
        inside = PRECISIONS.get(self.traits.precision or "", dtype)
        return max(dtype, inside, key=ERRORS.__getitem__)

    def allows(self, limit: float) -> float:
        """Return the limit of a relative error in fp64, or that of the precision that the traits declare."""
        return limit if self.traits.precision is None else max(limit, ERRORS[self.rounds_to(torch.float64)])

    def length(self, wanted: int) -> int:
        """Return a number of columns, or that of the longest batch that the plugin accepts."""
        return min(wanted, getattr(self.traits, "longest", None) or wanted)

    @property
    def packs(self) -> bool:
        """Whether the plugin accepts rows of several documents."""
        return getattr(self.traits, "packing", True)

    def takes(self, option: str) -> bool:
        """Whether the constructor has this keyword argument; False if its signature cannot be read."""
        try:
            return option in read_options(self.cls)
        except PluginError:
            return False

    def arguments(self, **options: Any) -> dict[str, Any]:
        """Return the keyword arguments of the constructor; ``options`` override those of the case."""
        own = getattr(self.cls, "testing_options", {})
        return bind(self.cls, {**own, **self.options, **options}, supplied=self.supplied(), model=MODEL)

    @property
    def speed_only(self) -> frozenset[str]:
        """The options that the plugin declares to change speed and memory only."""
        return self.traits.speed_only

    def supplied(self) -> dict[str, Any]:
        """Return what a model supplies to plugins of this kind."""
        return {"hidden_size": self.hidden_size}

    def build(self, dtype: torch.dtype = torch.float64, *, seed: int = 0, **options: Any) -> nn.Module:
        """Return a module in evaluation mode, with perturbed parameters: none is zero or symmetric."""
        with seeded(seed):
            module = self.cls(**self.arguments(**options))
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        assert isinstance(module, nn.Module)
        return module.to(dtype).eval()

    def copy_of(self, module: nn.Module, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
        """Build the plugin again, with other options, and return it with the weights of ``module``."""
        other = self.build(dtype, seed=1, **options)
        other.load_state_dict(module.state_dict())
        return other


@attrs.frozen(kw_only=True)
class BlockCase(Case):
    """A block in one direction."""

    causal: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({'causal' if self.causal else 'bidirectional'})"

    def supplied(self) -> dict[str, Any]:
        """Return the width and the direction."""
        return {"hidden_size": self.hidden_size, "causal": self.causal}

    @property
    def traits(self) -> Traits:
        """The traits that the class declares; rule C1 reports any that are of another type."""
        return _declared(self.cls, Traits)

    def fit(self, drawn: Any) -> Any:
        """Return what a rule drew, with batches that the block accepts: not packed, not too long."""
        if type(drawn) is tuple:
            return tuple(self.fit(part) for part in drawn)
        return drawn.fitted(self.traits) if isinstance(drawn, Batch) else drawn


@attrs.frozen(kw_only=True)
class FFNCase(Case):
    """A feed-forward network."""

    def supplied(self) -> dict[str, Any]:
        """Return both widths."""
        return {"hidden_size": self.hidden_size, "ffn_hidden_size": 2 * self.hidden_size}


@attrs.frozen(kw_only=True)
class NormCase(Case):
    """A norm at one place."""

    place: str = "mixer"

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"

    def supplied(self) -> dict[str, Any]:
        """Return the width and the place."""
        return {"hidden_size": self.hidden_size, "place": self.place}


@attrs.frozen(kw_only=True)
class PositionCase(Case):
    """A position code for two heads of width 8."""

    causal: bool = False

    @property
    def speed_only(self) -> frozenset[str]:
        """The class attribute of that name; codes have no traits."""
        return frozenset(self.declares("speed_only"))

    def declares(self, name: str) -> Any:
        """Return a class attribute of the code, or that of ``PositionCode``."""
        return getattr(self.cls, name, getattr(PositionCode, name))

    def supplied(self) -> dict[str, Any]:
        """Return the sizes of a block with two heads."""
        sizes = {"head_dim": self.hidden_size // 2, "num_heads": 2, "hidden_size": self.hidden_size}
        return {**sizes, "causal": self.causal}


T = TypeVar("T", bound=NumericTraits)


def _declared(cls: Any, kind: type[T]) -> T:
    declared = getattr(cls, "traits", None)
    return declared if isinstance(declared, kind) else kind()


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normal numbers that depend on the seed only."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def takes_columns(columns: int) -> Callable[[Case], str]:
    """Return why a rule that needs rows of so many tokens cannot be tried on a case; empty if it can."""

    def reason(case: Case) -> str:
        longest = getattr(case.traits, "longest", None)
        return "" if longest is None or longest >= columns else f"it takes at most {longest} columns"

    return reason


def output(module: nn.Module, x: Tensor, layout: Layout | None) -> Tensor:
    """Return the branch value without the auxiliary losses."""
    y = module(x, layout)
    branch = y[0] if isinstance(y, tuple) else y
    assert isinstance(branch, Tensor)
    return branch


def gradients(y: Tensor, weight: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return the gradients of ``sum(y * weight)``; zeros for leaves on which it does not depend."""
    if not y.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    trained = [leaf for leaf in leaves if leaf.requires_grad]
    found = torch.autograd.grad(y, trained, weight, allow_unused=True, materialize_grads=True)
    by_id = dict(zip(map(id, trained), found, strict=True))
    return [by_id[id(leaf)] if leaf.requires_grad else torch.zeros_like(leaf) for leaf in leaves]
