"""Mixer, the base of all blocks that mix tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_leaves

from ultra_blocks.inputs import check_tokens
from ultra_blocks.layout import Layout, check_layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.positions import PositionCode, PositionSpec, build
from ultra_blocks.traits import Traits
from ultra_core.contracts import ParamInfo
from ultra_core.module_types import is_norm, kind_by_type, stacked_in

__all__ = ["LinearFactory", "Mixer", "Traits"]


class Mixer(nn.Module):
    """Base of the blocks: ``mixer(x, layout)`` maps ``(B, T, D)`` to the value of the residual branch.

    A subclass sets ``role`` and ``traits``, calls :meth:`reset_parameters` at the end of its constructor,
    starts ``forward`` with :meth:`enter` and ends it with :meth:`leave`.

    Raises:
        ValueError: the traits do not declare the direction that ``causal`` selects.
    """

    role: ClassVar[str] = "other"
    traits: ClassVar[Traits] = Traits()
    output_projection: ClassVar[str] = "out_proj"
    """The child whose initial weight is scaled by ``residual_scale``."""
    reference: ClassVar[Callable[..., Tensor] | str | None] = None
    """Plain function ``reference(x, state, **arguments)`` with which the conformance kit compares the block.

    It maps the tokens of one document ``(T, D)`` to the output ``(T, D)``, given the state dict and the
    arguments of the constructor, with defaults. ``"package.module:function"`` is imported by the kit only.
    """
    exact_parameters: ClassVar[tuple[str, ...]] = ()
    """Direct parameters (decays, steps) that stay fp32 when the model is cast to half precision."""
    variations: ClassVar[Mapping[str, Any]] = {}
    """By option, arguments under which it is seen to act, where the conformance kit cannot guess them."""

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__()
        if not (self.traits.causal if causal else self.traits.bidirectional):
            raise ValueError(
                f"{type(self).__name__}: causal={causal} was asked for, but its traits declare only "
                f"{'bidirectional' if causal else 'causal'} use; choose another block for this model"
            )
        self.hidden_size = hidden_size
        self.causal = causal

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the branch ``(B, T, D)``; a layout of None means no padding and one document per row."""
        raise TypeError(f"{type(self).__name__} has no forward; a block must define it")

    def init_state(self, batch: int) -> Any:
        """Return the state before the first token of ``batch`` rows, for :meth:`step`.

        Raises:
            ValueError: the block does not declare ``recurrent_step``.
        """
        raise ValueError(f"{type(self).__name__} does not declare recurrent_step: it has no decoding state")

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output ``(B, D)`` at the next token ``x_t`` ``(B, D)``, and the state after it.

        Raises:
            ValueError: the block does not declare ``recurrent_step``.
        """
        raise ValueError(
            f"{type(self).__name__} does not declare recurrent_step: it cannot decode token by token"
        )

    def require_causal(self) -> None:
        """Raise unless the block is causal; ``init_state`` calls this.

        Raises:
            ValueError: the block was built with ``causal=False``.
        """
        if not self.causal:
            raise ValueError(f"{type(self).__name__}: decoding token by token needs causal=True")

    def enter_step(self, x_t: Tensor, state: Any) -> None:
        """Raise unless ``x_t`` is ``(B, D)`` and the state has as many rows; ``step`` starts with this.

        The first dimension of the first tensor of the state, in tuples, lists or dicts, is the batch; a state
        without a tensor fits any batch.

        Raises:
            ValueError: the block was built with ``causal=False``, or the state belongs to another batch,
                which would be broadcast silently.
        """
        self.require_causal()
        tensors = (part for part in tree_leaves(state) if isinstance(part, Tensor) and part.ndim)
        rows = next((len(tensor) for tensor in tensors), x_t.shape[0])
        if x_t.shape != (rows, self.hidden_size):
            raise ValueError(
                f"{type(self).__name__}: step takes the next token of every row, (batch, hidden_size) "
                f"{(rows, self.hidden_size)} with this state; given {tuple(x_t.shape)}. "
                "init_state(batch) makes the state of other rows"
            )

    def enter(self, x: Tensor, layout: Layout | None) -> Tensor:
        """Return ``x`` with zeros at padding, so that NaN there reaches no sum, forward or backward.

        Raises:
            ValueError: ``x`` is not ``(B, T, D)`` of a floating dtype with the width of the block, or the
                layout belongs to another batch or is a bare mask.
        """
        check_tokens(self, x, self.hidden_size)
        check_layout(x, layout)
        return x if layout is None else layout.zero_padding(x)

    def leave(self, y: Tensor, layout: Layout | None) -> Tensor:
        """Return ``y`` ``(B, T, D)`` with exact zeros at padding."""
        return y if layout is None else layout.zero_padding(y)

    def build_positions(self, spec: PositionSpec, *, head_dim: int, num_heads: int) -> PositionCode:
        """Build the position code of a spec, and check that this block can apply it.

        Every block accepts codes of kind "embed" and "none", and ignores them.

        Raises:
            ValueError: the traits of the block do not include the kind of the code.
        """
        code = build(
            spec, head_dim=head_dim, num_heads=num_heads, hidden_size=self.hidden_size, causal=self.causal
        )
        allowed = self.traits.positions | {"embed", "none"}
        if code.kind not in allowed:
            raise ValueError(
                f"{type(self).__name__} cannot apply the position code {type(code).__name__} of kind "
                f"{code.kind!r}; it takes kinds {', '.join(sorted(allowed))}"
            )
        return code

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in fused projections, by dotted parameter name."""
        return {}

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters of this block that no submodule describes itself.

        Tensors of two or more dimensions are matrices with the role of the block. Vectors (biases, gates)
        have no weight decay. Norms, convolutions, embeddings, recurrent layers and attention of torch are
        described by their type.
        """
        blocks = self.row_blocks()
        info = {}
        others: tuple[str, ...] = ()  # paths of modules that describe all that is in them
        for path, module in self.named_modules():
            if module is not self and hasattr(module, "parameter_info"):
                others = (*others, f"{path}.")
            if f"{path}.".startswith(others) or (module is not self and is_norm(module)):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                dotted = f"{path}.{name}" if path else name
                if parameter.ndim < 2:
                    info[dotted] = ParamInfo(role=self.role, kind="vector", decay=False)
                    continue
                count = stacked_in(module, name)
                equal = (len(parameter) // count,) * count if count > 1 else ()
                info[dotted] = ParamInfo(
                    role=self.role,
                    kind=kind_by_type(module) or "matrix",
                    row_blocks=blocks.get(dotted, equal),
                )
        return info

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights: projections N(0, std^2), biases 0; the output projection with a scaled std.

        The encoder calls this again with its own ``std``, and with 1/sqrt(2 num_layers num_loops) as
        ``residual_scale``. Children that are no projections and have a ``reset_parameters`` reset themselves;
        what the block owns directly is reset by an override.
        """
        for name, module in self.named_modules():
            if module is self:
                continue
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2:
                drawn = torch.empty_like(weight)
                drawn.normal_(0.0, std * (residual_scale if name == self.output_projection else 1.0))
                if is_parametrized(module, "weight"):  # as by weight_norm: the weight itself is computed
                    module.weight = drawn
                else:
                    weight.copy_(drawn)
                if isinstance(bias := getattr(module, "bias", None), Tensor):
                    bias.zero_()
            elif isinstance(module, nn.MultiheadAttention):
                for parameter in module.parameters(recurse=False):
                    parameter.normal_(0.0, std) if parameter.ndim == 2 else parameter.zero_()
            elif callable(reset := getattr(module, "reset_parameters", None)):
                reset()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move and cast as ``nn.Module`` does, except that ``exact_parameters`` stay fp32."""
        exact = {
            name: parameter.data
            for name in self.exact_parameters
            if (parameter := getattr(self, name)) is not None
        }
        super()._apply(fn, recurse)
        for name, before in exact.items():
            parameter = self.get_parameter(name)
            if parameter.dtype in (torch.float16, torch.bfloat16):
                parameter.data = before.to(parameter.device, torch.float32)
        return self
