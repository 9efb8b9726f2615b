"""What the norms share: where a norm stands, and what its parameters are."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from ultra_core.contracts import ParamInfo

Place = Literal["mixer", "ffn", "final", "embedding", "head"]
"""Where a norm stands: before a mixer or an FFN, after the last layer or the embeddings, in the head."""

PLACES: tuple[str, ...] = get_args(Place)


class Norm(nn.Module):
    """Base of the norms: where one stands, and what its parameters are to an optimizer.

    Raises:
        ValueError: the width is below 1 or the place is none of :data:`PLACES`.
    """

    def __init__(self, hidden_size: int, *, place: Place = "mixer") -> None:
        super().__init__()
        if hidden_size < 1:
            raise ValueError(f"{type(self).__name__}: hidden_size must be 1 or more, given {hidden_size}")
        if place not in PLACES:
            raise ValueError(f"{type(self).__name__}: place must be one of {PLACES}, given {place!r}")
        self.hidden_size = hidden_size
        self.place = place

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the gain (decayed only where ``wd_norms`` is set) and the rest (never decayed)."""
        return {
            name: ParamInfo(role="norms", kind="vector", decay=name == "weight")
            for name, _ in self.named_parameters(recurse=False)
        }

    def extra_repr(self) -> str:
        """Return width and place for ``print(model)``."""
        return f"{self.hidden_size}, place={self.place!r}"


def like(parameter: Tensor, x: Tensor) -> Tensor:
    """Return the parameter in the dtype of the activations, which mixed kernels want; usually itself."""
    return parameter if parameter.dtype is x.dtype else parameter.to(x.dtype)
