"""The encoder of the transformers models, whose layers transformers knows as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ultra_blocks.encoder import Encoder, EncoderLayer
from ultra_blocks.encoder.stack import Losses, PostNormLayer
from ultra_blocks.layout import Layout

# ultra_blocks.hf.config reports a missing transformers
from transformers.modeling_layers import GradientCheckpointingLayer  # isort: skip


class _Recomputing(GradientCheckpointingLayer):
    """A layer whose activations are recomputed as :meth:`activation_checkpointing_enable` says.

    transformers wraps ``forward``, and so chooses the layers (``every_n_layers``), where inputs are kept
    (``offload``), and the options of ``torch.utils.checkpoint``.
    """

    _recompute: Any = staticmethod(partial(checkpoint, use_reentrant=False))

    @property
    def _gradient_checkpointing_func(self) -> Callable[..., Any]:
        """What transformers computes a layer with; it assigns its own."""
        return self._recompute

    @_gradient_checkpointing_func.setter
    def _gradient_checkpointing_func(self, recompute: Callable[..., Any]) -> None:
        reentrant = getattr(recompute, "keywords", {}).get("use_reentrant", False)
        self._recompute = partial(_with_losses, recompute) if reentrant else recompute

    def forward(self: Any, x: Tensor, layout: Layout) -> tuple[Tensor, Losses]:
        """Return the residual stream after both branches, and their auxiliary losses."""
        computed: tuple[Tensor, Losses] = self.compute(x, layout)
        return computed


class UltraEncoderLayer(_Recomputing, EncoderLayer):
    """An :class:`EncoderLayer` that transformers knows as a layer."""


class UltraPostNormLayer(_Recomputing, PostNormLayer):
    """A :class:`PostNormLayer` that transformers knows as a layer."""


class UltraEncoder(Encoder):
    """An :class:`Encoder` with such layers."""

    layer_classes: ClassVar[Mapping[str, type[EncoderLayer]]] = {
        "pre": UltraEncoderLayer,
        "post": UltraPostNormLayer,
    }


def _with_losses(
    recompute: Callable[..., Any], layer: Callable[..., tuple[Tensor, Losses]], *inputs: Any
) -> tuple[Tensor, Losses]:
    """Return what a layer returns; reentrant checkpointing gives no gradient to tensors inside a dict."""
    names: list[str] = []

    def flat(*inputs: Any) -> tuple[Tensor, ...]:
        x, losses = layer(*inputs)
        names[:] = losses
        return x, *losses.values()

    x, *losses = recompute(flat, *inputs)
    return x, dict(zip(names, losses, strict=True))
