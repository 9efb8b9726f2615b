"""UltraConfig: every field of an encoder, with its shorthands resolved; imports no torch."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Annotated, Any, Literal

import attrs

from ultra_blocks.activations import Activation, canonical_activation
from ultra_blocks.config.specs import (
    Spec,
    bare_name,
    canonical_block,
    canonical_ffn_activations,
    canonical_spec,
    split_spec,
    with_defaults_if_rope,
    with_rope_options,
)
from ultra_core import blocks, ffns, norms, positions
from ultra_core.contracts import Range

Count = Annotated[int, Range(min=1)]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(kw_only=True)
class UltraConfig:
    """Every field of an encoder.

    ``use_moe``, ``ffn_activation`` and ``use_hope`` are shorthands for ``ffn`` and ``positions``. None leaves
    a shorthand unset; its default (``use_moe: true``, ``ffn_activation: gelu``, ``use_hope: true``) then
    holds unless ``ffn`` or ``positions`` says otherwise. A shorthand that is set and contradicts ``ffn`` or
    ``positions`` is a fault.

    The constructor checks nothing. :class:`~ultra_blocks.encoder.Encoder` checks the config that it builds;
    :func:`~ultra_blocks.encoder.config_faults` lists all faults of a config, and
    :mod:`ultra_blocks.config.validation` finds those that need no torch.
    """

    vocab_size: Count = attrs.field(default=50_000, metadata={"help": "rows of the embedding table"})
    hidden_size: Count = attrs.field(default=768, metadata={"help": "width of the residual stream"})
    num_layers: Count = attrs.field(
        default=12, metadata={"help": "number of layers that have weights of their own"}
    )
    num_loops: Count = attrs.field(
        default=1,
        metadata={"help": "how often the stack runs, each time on its own output and with the same weights"},
    )
    num_heads: Count = attrs.field(default=12, metadata={"help": "number of attention heads"})
    num_kv_heads: Count | None = attrs.field(
        default=None,
        metadata={
            "help": "number of key and value heads of grouped-query attention; null: the default of the block"
        },
    )
    retention_heads: Count = attrs.field(default=12, metadata={"help": "number of retention heads"})
    num_experts: Count = attrs.field(
        default=4, metadata={"help": "number of experts of a mixture of experts"}
    )
    top_k_experts: Count = attrs.field(
        default=2, metadata={"help": "number of experts that each token is routed to"}
    )
    dropout: Annotated[float, Range(min=0, lt=1)] = attrs.field(
        default=0.1,
        metadata={"help": "dropout probability of embeddings, residual branches and attention weights"},
    )
    layer_pattern: tuple[Spec, ...] = attrs.field(
        default=("standard_attn",),
        metadata={"help": "blocks, repeated cyclically over num_layers: NAME or {NAME: {options}}"},
        converter=_tuple,
    )
    ode_solver: Literal["rk4", "euler", "midpoint", "heun"] = attrs.field(
        default="rk4", metadata={"help": "ODE solver of the ode block"}
    )
    ode_steps: Count = attrs.field(
        default=2, metadata={"help": "number of integration steps of the ode block"}
    )
    use_bitnet: bool = attrs.field(
        default=False,
        metadata={"help": "ternary weights (BitNet b1.58) in the projections of blocks and FFNs"},
    )
    norm_type: Spec = attrs.field(
        default="layer_norm", metadata={"help": "norm plugin: NAME or {NAME: {options}}"}
    )
    use_factorized_embedding: bool = attrs.field(
        default=False,
        metadata={
            "help": "embed tokens in factorized_embedding_dim dimensions and project them to hidden_size"
        },
    )
    factorized_embedding_dim: Count = attrs.field(
        default=128, metadata={"help": "width of the factorized embedding table"}
    )
    use_embedding_conv: bool = attrs.field(
        default=False, metadata={"help": "apply a depthwise convolution over time to the embeddings"}
    )
    embedding_conv_kernel: Count = attrs.field(
        default=3, metadata={"help": "kernel size of that convolution in tokens"}
    )
    embedding_norm: bool = attrs.field(
        default=True, metadata={"help": "normalise the embeddings before the first layer"}
    )
    norm_placement: Literal["pre", "post"] = attrs.field(
        default="pre",
        metadata={
            "help": "pre: norms before mixer and FFN, and a final norm; post: norms after both residual sums "
            "and no final norm, as in BERT"
        },
    )
    first_norm: bool = attrs.field(
        default=True,
        metadata={
            "help": "with pre, a norm before the mixer of the first layer; false, as in ModernBERT, where "
            "embedding_norm precedes it directly"
        },
    )
    type_vocab_size: Annotated[int, Range(min=0)] = attrs.field(
        default=0, metadata={"help": "number of token types that have embeddings, 2 in BERT; 0: none"}
    )
    hope_base: Annotated[float, Range(gt=1)] = attrs.field(
        default=10_000.0, metadata={"help": "base of the HoPE frequencies"}
    )
    hope_damping: Annotated[float, Range(min=0)] = attrs.field(
        default=0.01, metadata={"help": "damping of HoPE per position"}
    )
    rope_base: Annotated[float, Range(gt=0)] | None = attrs.field(
        default=None, metadata={"help": "base of the RoPE frequencies; null: the default of rope"}
    )
    rope_factor: Annotated[float, Range(gt=0)] | None = attrs.field(
        default=None,
        metadata={
            "help": "linear position scaling factor of RoPE; null: the default of rope",
            # "rope_scaling" itself is an attribute of the configs of transformers
            "aliases": ("rope_scaling",),
        },
    )
    use_hope: bool | None = attrs.field(
        default=None,
        metadata={
            "help": "use HoPE in the blocks whose default position code it is; false: RoPE there [true]"
        },
    )
    use_moe: bool | None = attrs.field(
        default=None,
        metadata={
            "help": "wrap the FFN in a mixture of num_experts experts, top_k_experts of them active [true]"
        },
    )
    ffn_hidden_size: Count = attrs.field(
        default=3072, metadata={"help": "inner width of the FFN; glu uses it without reduction"}
    )
    ffn_activation: str | None = attrs.field(
        default=None,
        metadata={"help": "activation of the FFN [gelu]; swiglu, geglu and reglu select glu as the FFN"},
    )
    ffn: Spec | None = attrs.field(
        default=None, metadata={"help": "FFN plugin: NAME or {NAME: {options}} [mlp]"}
    )
    positions: Spec | None = attrs.field(
        default=None,
        metadata={
            "help": "position code of every block that takes one; null: the default of each block",
            "aliases": ("positional_encoding",),
        },
    )
    max_positions: Count = attrs.field(
        default=512, metadata={"help": "maximum document length; a limit only for learned positions"}
    )
    causal: bool = attrs.field(
        default=False, metadata={"help": "tokens attend only to themselves and earlier tokens"}
    )
    tie_embeddings: bool = attrs.field(
        default=True, metadata={"help": "the output head shares the weights of the embedding table"}
    )
    head_activation: Activation = attrs.field(
        default="gelu", metadata={"help": "activation in the head that predicts tokens"}
    )
    head_bias: bool = attrs.field(default=True, metadata={"help": "the dense layer of that head has a bias"})
    decoder_bias: bool = attrs.field(
        default=True, metadata={"help": "that head has a bias for each token of the vocabulary"}
    )
    initializer_range: Annotated[float, Range(gt=0)] = attrs.field(
        default=0.02, metadata={"help": "standard deviation of initial weights"}
    )

    def layers(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (block name, options) of each of the ``num_layers`` layers."""
        pattern = [split_spec(spec) for spec in self._canonical_pattern()]
        return [pattern[i % len(pattern)] for i in range(self.num_layers)]

    def _canonical_pattern(self) -> tuple[Spec, ...]:
        known: dict[str, Spec] = {}  # a repeated name is looked up once
        for spec in self.layer_pattern:
            if isinstance(spec, str) and spec not in known:
                known[spec] = canonical_spec(blocks, spec)
        return tuple(known[s] if isinstance(s, str) else canonical_block(s) for s in self.layer_pattern)

    def norm(self) -> tuple[str, dict[str, Any]]:
        """Return (norm name, options)."""
        return split_spec(canonical_spec(norms, self.norm_type))

    def activation_shorthand(self) -> tuple[str | None, str | None]:
        """Return the FFN and the activation that ``ffn_activation`` implies, each None if it implies none.

        ``swiglu`` implies both.
        """
        if self.ffn_activation is None:
            return None, None
        for spelling in (self.ffn_activation, self.ffn_activation.replace("_", "").lower()):
            name, alias = ffns.canonical(spelling)
            if alias is not None and "activation" in alias.options:
                return name, alias.options["activation"]
        return None, canonical_activation(self.ffn_activation)

    def resolved_ffn(self) -> tuple[str, dict[str, Any]]:
        """Return (FFN name, options) with the shorthands resolved.

        A mixture of experts is returned as ``("moe", {"expert": {NAME: {options}}, ...})``.
        """
        implied, activation = self.activation_shorthand()
        name, options = split_spec(
            canonical_spec(ffns, canonical_ffn_activations(self.ffn or implied or "mlp"))
        )
        activation = activation or ("gelu" if self.ffn is None else None)
        if bare_name(name) == "moe":
            if "expert" in options or activation is not None:
                options["expert"] = canonical_spec(ffns, options.get("expert", implied or "mlp"))
            if activation is not None:
                inner, inner_options = split_spec(options["expert"])
                options["expert"] = {inner: {"activation": activation, **inner_options}}
            return name, options
        if activation is not None:
            options = {"activation": activation, **options}
        wrap = self.ffn is None if self.use_moe is None else self.use_moe
        return ("moe", {"expert": {name: options}}) if wrap else (name, options)

    def positions_for(self, default: Spec) -> Spec:
        """Return the position code of a block whose default is ``default``."""
        if self.positions is not None:
            return self.positions
        if self.use_hope is False and isinstance(default, str) and bare_name(default) == "hope":
            return "rope"
        return default

    def check(self) -> UltraConfig:
        """Do as ``ultra_blocks.encoder.check_config``; the former name."""
        warnings.warn(
            "UltraConfig.check() is called ultra_blocks.encoder.check_config() now",
            DeprecationWarning,
            stacklevel=2,
        )
        # by name, because the checks build blocks and lie above the configuration
        checked: UltraConfig = import_module("ultra_blocks.encoder").check_config(self)
        return checked

    def canonical(self) -> UltraConfig:
        """Return the same model with canonical plugin names and with ``ffn`` in place of its shorthands.

        If ``positions`` is rope, ``rope_base`` and ``rope_factor`` become options of it and of every rope
        among the options of blocks.
        """
        name, options = self.resolved_ffn()
        code = None if self.positions is None else canonical_spec(positions, self.positions)
        rope = {"base": self.rope_base, "scaling": self.rope_factor}
        rope = {key: value for key, value in rope.items() if value is not None}
        pattern = self._canonical_pattern()
        if code is not None and bare_name(split_spec(code)[0]) == "rope":
            pattern = tuple(with_rope_options(spec, rope) for spec in pattern)
            code, rope = with_defaults_if_rope(code, rope), {}
        return attrs.evolve(
            self,
            layer_pattern=pattern,
            norm_type=canonical_spec(norms, self.norm_type),
            ffn={name: options},
            use_moe=None,
            ffn_activation=None,
            positions=code,
            rope_base=rope.get("base"),
            rope_factor=rope.get("scaling"),
        )
