"""PositionCode, the base of position codes, and ``build``, which makes one from a spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_core import positions as registry
from ultra_core.plugins.signatures import bind

Kind = Literal["rotate", "bias", "scores", "embed", "none"]

PositionSpec = str | Mapping[str, Mapping[str, Any]] | Callable[..., Any]
"""``"rope"``, ``{"rope": {"base": 1e5}}``, or a class or factory."""


class PositionCode(nn.Module):
    """Base of position codes; ``kind`` determines which method a code has and who calls it.

    ===========  ==================================  =========================================================
    kind         method                              called by
    ===========  ==================================  =========================================================
    "rotate"     ``rotate(q, k, layout)``            the block, on q and k ``(B, H, T, d)``, before the scores
    "bias"       ``bias(layout, dtype)``             the block, which adds ``(B or 1, H, T, T)`` to the scores
    "scores"     ``scores(q, k, layout)``            the block, instead of ``q k^T`` (unscaled)
    "embed"      ``embed(layout)``                   the encoder, which adds ``(B, T, D)`` to the embeddings
    "none"       nothing                             nobody
    ===========  ==================================  =========================================================

    Positions are integers and angles at least fp32, whatever the dtype of activations. Tables are computed
    from Python numbers in ``forward``: a buffer that is not saved would be uninitialised after a model is
    loaded through the meta device.

    Attributes:
        relative: scores depend on differences of positions only.
        symmetric: scores are invariant to negating all positions.
    """

    kind: ClassVar[Kind] = "none"
    relative: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    variations: ClassVar[Mapping[str, Any]] = {}
    """By option, arguments under which it is seen to act, where the conformance kit cannot guess them."""
    speed_only: ClassVar[frozenset[str]] = frozenset()
    """Options that change speed and memory but no output."""
    reference: ClassVar[Callable[..., Tensor] | str | None] = None
    """Plain function with which the conformance kit compares the code, see ``Mixer.reference``.

    ``reference(q, k, state, **arguments)`` maps q and k ``(H, T, d)`` at positions 0, 1, ... to unscaled
    scores ``(H, T, T)``. For the kind "embed", ``reference(positions, state, **arguments)`` maps positions
    ``(T,)`` to vectors ``(T, D)``.
    """

    def __init__(self) -> None:  # the signature of nn.Module would hide that a code has no options
        super().__init__()

    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return q and k ``(B, H, T, d)`` rotated by their positions; k may have fewer heads."""
        raise self._wrong("rotate")

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        """Return the bias that is added to the scores, ``(B or 1, H, T, T)``."""
        raise self._wrong("bias")

    def scores(self, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
        """Return the scores ``(B, H, T, T)`` before scaling and masks."""
        raise self._wrong("scores")

    def embed(self, layout: Layout) -> Tensor:
        """Return the vectors that are added to the embeddings, ``(B, T, D)``."""
        raise self._wrong("embed")

    def _wrong(self, method: str) -> ValueError:
        return ValueError(f"{type(self).__name__} is of kind {self.kind!r}; it has no {method}()")


def build(
    spec: PositionSpec,
    *,
    head_dim: int,
    num_heads: int,
    hidden_size: int,
    causal: bool = False,
    model: Mapping[str, Any] | None = None,
) -> PositionCode:
    """Build the position code of a spec, with those of the arguments that its constructor accepts.

    Args:
        spec: a registered name, ``{name: options}``, or a class or factory.
        head_dim: width of a head, d.
        num_heads: query heads, H.
        hidden_size: width D of the residual stream.
        causal: whether the block is causal.
        model: fields of the model config, for parameters annotated ``FromModel(field)``.

    Raises:
        ValueError: the spec is none of these, or an option is supplied by the model.
        PluginError: the name or an option is unknown.
    """
    options: Mapping[str, Any] = {}
    if isinstance(spec, Mapping):
        if len(spec) != 1:
            raise ValueError(f"positions: one name with its options is expected; given {dict(spec)!r}")
        ((spec, options),) = spec.items()
    plugin = registry.get(spec) if isinstance(spec, str) else spec
    if not callable(plugin):
        raise ValueError(f"positions: a name, {{name: options}} or a factory is expected; given {spec!r}")
    supplied = {
        "head_dim": head_dim,
        "num_heads": num_heads,
        "hidden_size": hidden_size,
        "causal": causal,
    }
    if taken := supplied.keys() & (options or {}):
        raise ValueError(f"positions: {', '.join(sorted(taken))} of {spec!r} is given by the model, not set")
    code: PositionCode = plugin(**bind(plugin, options or {}, supplied=supplied, model=model or {}))
    return code


def real_positions(layout: Layout) -> Tensor:
    """Return the positions as ``(B, T)``, or as ``(1, T)`` if all rows are equal.

    Positions at padding are arbitrary.
    """
    if layout.indexed:
        return torch.arange(layout.mask.shape[1], device=layout.mask.device)[None]
    return layout.positions
