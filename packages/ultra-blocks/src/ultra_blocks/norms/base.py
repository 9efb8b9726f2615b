"""Norm, the base of the norms: the place of a norm in the model and the roles of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from ultra_blocks.inputs import check_width
from ultra_blocks.traits import NormTraits
from ultra_core.contracts import ParamInfo

Place = Literal["mixer", "ffn", "final", "embedding", "head"]
"""Place of a norm: before a mixer or an FFN, after the last layer or the embeddings, or in the head."""

PLACES: tuple[str, ...] = get_args(Place)


class Norm(nn.Module):
    """Base of the norms: the place in the model, and the description of parameters for optimizers.

    Raises:
        ValueError: the width is below 1, or the place is not in :data:`PLACES`.
    """

    variations: ClassVar[Mapping[str, Any]] = {}
    """By option, arguments under which it is seen to act, where the conformance kit cannot guess them."""
    traits: ClassVar[NormTraits] = NormTraits()
    reference: ClassVar[Callable[..., Tensor] | str | None] = None
    """Plain function ``reference(x, state, **arguments)`` of ``(..., D)``, see ``Mixer.reference``."""

    def __init__(self, hidden_size: int, *, place: Place = "mixer") -> None:
        super().__init__()
        if hidden_size < 1:
            raise ValueError(f"{type(self).__name__}: hidden_size must be 1 or more; given {hidden_size}")
        if place not in PLACES:
            raise ValueError(f"{type(self).__name__}: place must be one of {PLACES}; given {place!r}")
        self.hidden_size = hidden_size
        self.place = place

    def check(self, x: Tensor) -> None:
        """Raise unless ``x`` is ``(..., D)`` with the width of the norm; ``forward`` starts with this.

        Raises:
            ValueError: it has another width, which may be broadcast silently, or holds integers.
        """
        check_width(self, x, self.hidden_size)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the gain (weight decay only if ``wd_norms`` is set) and the rest (no weight decay)."""
        return {
            name: ParamInfo(role="norms", kind="vector", decay=name == "weight")
            for name, _ in self.named_parameters(recurse=False)
        }

    def extra_repr(self) -> str:
        """Return width and place for ``print(model)``."""
        return f"{self.hidden_size}, place={self.place!r}"


def like(parameter: Tensor, x: Tensor) -> Tensor:
    """Return the parameter in the dtype of the activations, as fused kernels require."""
    return parameter if parameter.dtype is x.dtype else parameter.to(x.dtype)
