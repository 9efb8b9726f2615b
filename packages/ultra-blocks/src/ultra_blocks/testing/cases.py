"""A plugin under test, built at a small size; one class for each kind of plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Traits
from ultra_core.plugins.signatures import bind, read_options

MODEL = {"num_heads": 2, "retention_heads": 2, "dropout": 0.0, "num_layers": 2, "num_loops": 1}
"""Fields of a small model, for parameters that read them; options of a case take precedence."""


@attrs.frozen(kw_only=True)
class Case:
    """A plugin class, its options, and the width at which it is tested."""

    name: str
    cls: Any
    options: Mapping[str, Any] = attrs.field(factory=dict)
    hidden_size: int = 16

    def __str__(self) -> str:
        return self.name

    def takes(self, option: str) -> bool:
        """Whether the constructor has this keyword argument."""
        return option in read_options(self.cls)

    def arguments(self, **options: Any) -> dict[str, Any]:
        """Return the keyword arguments of the constructor; ``options`` override those of the case."""
        return bind(self.cls, {**self.options, **options}, supplied=self.supplied(), model=MODEL)

    def supplied(self) -> dict[str, Any]:
        """Return what a model supplies to plugins of this kind."""
        return {"hidden_size": self.hidden_size}

    def build(self, dtype: torch.dtype = torch.float64, *, seed: int = 0, **options: Any) -> nn.Module:
        """Return a module in evaluation mode, with perturbed parameters: none is zero or symmetric."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
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
        """The traits that the class declares."""
        return getattr(self.cls, "traits", Traits())


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

    def supplied(self) -> dict[str, Any]:
        """Return the sizes of a block with two heads."""
        sizes = {"head_dim": self.hidden_size // 2, "num_heads": 2, "hidden_size": self.hidden_size}
        return {**sizes, "causal": self.causal}


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
    found = torch.autograd.grad(y, leaves, weight, allow_unused=True, materialize_grads=True)
    return list(found)


def check_gradients(function: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module) -> None:
    """Raise AssertionError unless the gradients of input and parameters agree with finite differences."""
    leaves = [x.detach().requires_grad_(), *module.parameters()]
    try:
        gradcheck(lambda x, *_: function(x), leaves, atol=1e-6, rtol=1e-4, fast_mode=True)
    except GradcheckError as error:
        raise AssertionError(str(error).splitlines()[0]) from error
