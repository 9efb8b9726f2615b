"""UltraConfig: what an encoder is made of, as the ``model`` section of a preset says it; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import attrs

from ultra_blocks.activations import canonical_activation
from ultra_core import blocks, ffns, norms, positions
from ultra_core.contracts import Range
from ultra_core.errors import UltraError, shortened
from ultra_core.plugins.registry import Registry

Spec = str | dict[str, dict[str, Any] | None]
"""NAME of a plugin, or ``{NAME: {options}}``."""

Path = tuple[str | int, ...]
"""Where in a config something stands: ``("layer_pattern", 2, "retnet", "chunk_size")``."""

Count = Annotated[int, Range(min=1)]


class ModelConfigError(UltraError, ValueError):
    """A model config that contradicts itself or the installed plugins.

    Attributes:
        faults: every (path, message).
    """

    def __init__(self, faults: list[tuple[Path, str]]) -> None:
        self.faults = faults
        lines = [f"  {'.'.join(map(str, path))}: {message}" for path, message in faults]
        super().__init__("\n".join([f"{len(faults)} fault(s) in the model config:", *shortened(lines)]))


def split_spec(spec: Spec) -> tuple[str, dict[str, Any]]:
    """Return name and options of a spec that is a NAME or ``{NAME: {options}}``.

    Raises:
        ValueError: a mapping with another number of names than one.
    """
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise ValueError(f"expected NAME or {{NAME: {{options}}}}, given {spec!r}")
    ((name, options),) = spec.items()
    return name, dict(options or {})


def own_spec(registry: Registry, spec: Spec) -> Spec:
    """Return a spec with the plugin's own name and the options that another name of it implies."""
    name, options = split_spec(spec)
    own, alias = registry.canonical(name)
    if alias is None:
        return spec
    return {own: {**alias.options, **options}} if alias.options or options else own


def _own_block(spec: Spec) -> Spec:
    """Return a block of a pattern, and the position code among its options, by their own names."""
    name, options = split_spec(own_spec(blocks, spec))
    code = options.get("positions")
    if isinstance(code, str) or (isinstance(code, dict) and len(code) == 1):
        options["positions"] = own_spec(positions, code)
    return {name: options} if options else own_spec(blocks, spec)


def own_activation(spec: Spec) -> Spec:
    """Return an FFN with the activations of its options, and of its expert's, by the names that ours have."""
    if isinstance(spec, str):
        return spec
    name, options = split_spec(spec)
    if isinstance(options.get("activation"), str) and _is_ours(ffns.canonical(name)[0]):
        options["activation"] = canonical_activation(options["activation"])
    expert = options.get("expert")
    if isinstance(expert, dict) and len(expert) == 1 and isinstance(next(iter(expert.values())), dict):
        options["expert"] = own_activation(expert)
    return {name: options}


def _is_ours(ffn: str) -> bool:
    """Whether an FFN is one of this package: those of others have names of their own for activations."""
    distribution, _, name = ffn.rpartition(":")
    owners = {entry.distribution for entry in ffns.entries() if entry.name == name}
    return "ultra-blocks" in ({distribution} if distribution else owners)


def _with_rope(spec: Spec, rope: Mapping[str, Any]) -> Spec:
    """Return a block of a pattern whose own position code, if that is rope, has options of the model."""
    name, options = split_spec(spec)
    if "positions" not in options:
        return spec
    return {name: {**options, "positions": _as_rope(options["positions"], rope)}}


def _as_rope(code: Spec, rope: Mapping[str, Any]) -> Spec:
    """Return a position code that, if it is rope, has these options beside its own."""
    name, own = split_spec(code)
    return {name: {**rope, **own}} if short(name) == "rope" and rope else code


def short(name: str) -> str:
    """Return the name without the distribution that ``distribution:name`` picks."""
    return name.rpartition(":")[2]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(kw_only=True)
class UltraConfig:
    """Every field of an encoder; the defaults are those of the seeds.

    ``use_moe``, ``ffn_activation`` and ``use_hope`` are shorthand for ``ffn`` and ``positions``. None means
    that neither is said: then the seeds' defaults hold (``use_moe: true``, ``ffn_activation: gelu``,
    ``use_hope: true``) unless ``ffn`` or ``positions`` says otherwise. A shorthand that is set and disagrees
    with what it abbreviates is a fault.

    Building one checks nothing; :meth:`faults` lists what is wrong and :meth:`check` raises it.
    """

    vocab_size: Count = attrs.field(default=50_000, metadata={"help": "rows of the embedding table"})
    hidden_size: Count = attrs.field(default=768, metadata={"help": "width of the stream"})
    num_layers: Count = attrs.field(default=12, metadata={"help": "physical layers"})
    num_loops: Count = attrs.field(
        default=1, metadata={"help": "times that the stack is run over its own output, with the same weights"}
    )
    num_heads: Count = attrs.field(default=12, metadata={"help": "attention heads"})
    num_kv_heads: Count | None = attrs.field(
        default=None, metadata={"help": "key and value heads of grouped attention; the block's own when null"}
    )
    retention_heads: Count = attrs.field(default=12, metadata={"help": "retention heads"})
    num_experts: Count = attrs.field(default=4, metadata={"help": "experts of a mixture"})
    top_k_experts: Count = attrs.field(default=2, metadata={"help": "experts that a token is sent to"})
    dropout: Annotated[float, Range(min=0, lt=1)] = attrs.field(
        default=0.1, metadata={"help": "of embeddings, branches and attention weights"}
    )
    layer_pattern: tuple[Spec, ...] = attrs.field(
        default=("standard_attn",),
        metadata={"help": "blocks, cycled over num_layers: NAME or {NAME: {options}}"},
        converter=_tuple,
    )
    ode_solver: Literal["rk4", "euler", "midpoint", "heun"] = attrs.field(
        default="rk4", metadata={"help": "integrator of the ode block"}
    )
    ode_steps: Count = attrs.field(default=2, metadata={"help": "integration steps of the ode block"})
    use_bitnet: bool = attrs.field(
        default=False, metadata={"help": "ternary weights in the projections of blocks and FFNs"}
    )
    norm_type: Spec = attrs.field(
        default="layer_norm", metadata={"help": "norm plugin: NAME or {NAME: {options}}"}
    )
    use_factorized_embedding: bool = attrs.field(
        default=False, metadata={"help": "embed in factorized_embedding_dim, then project to hidden_size"}
    )
    factorized_embedding_dim: Count = attrs.field(
        default=128, metadata={"help": "width of factorized embeddings"}
    )
    use_embedding_conv: bool = attrs.field(
        default=False, metadata={"help": "convolve the embeddings over time, channel by channel"}
    )
    embedding_conv_kernel: Count = attrs.field(
        default=3, metadata={"help": "width of that convolution in tokens"}
    )
    embedding_norm: bool = attrs.field(
        default=True, metadata={"help": "normalise the embeddings before the first layer"}
    )
    hope_base: Annotated[float, Range(gt=1)] = attrs.field(
        default=10_000.0, metadata={"help": "base of the frequencies of HoPE"}
    )
    hope_damping: Annotated[float, Range(min=0)] = attrs.field(
        default=0.01, metadata={"help": "damping of HoPE"}
    )
    rope_base: Annotated[float, Range(gt=0)] | None = attrs.field(
        default=None, metadata={"help": "base of the frequencies of RoPE; its own when null"}
    )
    rope_factor: Annotated[float, Range(gt=0)] | None = attrs.field(
        default=None,
        metadata={
            "help": "factor by which RoPE stretches positions; its own when null",
            # a name that the configs of transformers keep for themselves
            "aliases": ("rope_scaling",),
        },
    )
    use_hope: bool | None = attrs.field(
        default=None,
        metadata={"help": "HoPE in the blocks whose own position code it is; false gives them RoPE [true]"},
    )
    use_moe: bool | None = attrs.field(
        default=None, metadata={"help": "wrap the FFN in moe with num_experts and top_k_experts [true]"}
    )
    ffn_hidden_size: Count = attrs.field(
        default=3072, metadata={"help": "inner width of the FFN, used as it is by glu too"}
    )
    ffn_activation: str | None = attrs.field(
        default=None,
        metadata={"help": "activation of the FFN [gelu]; swiglu, geglu and reglu make the FFN a glu"},
    )
    ffn: Spec | None = attrs.field(
        default=None, metadata={"help": "FFN plugin: NAME or {NAME: {options}} [mlp]"}
    )
    positions: Spec | None = attrs.field(
        default=None,
        metadata={
            "help": "position code of every block that takes one; their own when null",
            "aliases": ("positional_encoding",),
        },
    )
    max_positions: Count = attrs.field(
        default=512, metadata={"help": "longest document; a limit only where positions are learnt"}
    )
    causal: bool = attrs.field(default=False, metadata={"help": "blocks see what came before only"})
    tie_embeddings: bool = attrs.field(
        default=True, metadata={"help": "the head decodes with the embedding table"}
    )
    initializer_range: Annotated[float, Range(gt=0)] = attrs.field(
        default=0.02, metadata={"help": "standard deviation of new weights"}
    )

    def faults(self) -> list[tuple[Path, str]]:
        """Return every (path, message) at which the config contradicts itself or the installed plugins.

        That a constructor refuses a block, norm, FFN or position code is among them: each is built once, on
        the meta device, when types and ranges are right.
        """
        from ultra_blocks.validation import faults

        return faults(self)

    def check(self) -> UltraConfig:
        """Return self.

        Raises:
            ModelConfigError: there are :meth:`faults`; it lists all of them.
        """
        if found := self.faults():
            raise ModelConfigError(found)
        return self

    def layers(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (block name, options) of every physical layer."""
        pattern = [split_spec(spec) for spec in self._own_pattern()]
        return [pattern[i % len(pattern)] for i in range(self.num_layers)]

    def _own_pattern(self) -> tuple[Spec, ...]:
        known: dict[str, Spec] = {}  # a name that comes back is looked up once
        for spec in self.layer_pattern:
            if isinstance(spec, str) and spec not in known:
                known[spec] = own_spec(blocks, spec)
        return tuple(known[s] if isinstance(s, str) else _own_block(s) for s in self.layer_pattern)

    def norm(self) -> tuple[str, dict[str, Any]]:
        """Return (norm name, options)."""
        return split_spec(own_spec(norms, self.norm_type))

    def said_activation(self) -> tuple[str | None, str | None]:
        """Return (FFN or None, activation or None) that ``ffn_activation`` says; ``swiglu`` says both."""
        if self.ffn_activation is None:
            return None, None
        for spelling in (self.ffn_activation, self.ffn_activation.replace("_", "").lower()):
            name, alias = ffns.canonical(spelling)
            if alias is not None and "activation" in alias.options:
                return name, alias.options["activation"]
        return None, canonical_activation(self.ffn_activation)

    def resolved_ffn(self) -> tuple[str, dict[str, Any]]:
        """Return (FFN name, options) with the shorthands worked in.

        A mixture comes out as ``("moe", {"expert": {NAME: {options}}, ...})``.
        """
        implied, activation = self.said_activation()
        name, options = split_spec(own_spec(ffns, own_activation(self.ffn or implied or "mlp")))
        activation = activation or ("gelu" if self.ffn is None else None)
        if short(name) == "moe":
            if "expert" in options or activation is not None:
                options["expert"] = own_spec(ffns, options.get("expert", implied or "mlp"))
            if activation is not None:
                inner, inner_options = split_spec(options["expert"])
                options["expert"] = {inner: {"activation": activation, **inner_options}}
            return name, options
        if activation is not None:
            options = {"activation": activation, **options}
        wrap = self.ffn is None if self.use_moe is None else self.use_moe
        return ("moe", {"expert": {name: options}}) if wrap else (name, options)

    def positions_for(self, default: Spec) -> Spec:
        """Return the position code of a block whose own default is given."""
        if self.positions is not None:
            return self.positions
        if self.use_hope is False and isinstance(default, str) and short(default) == "hope":
            return "rope"
        return default

    def canonical(self) -> UltraConfig:
        """Return the same model with plugins by their own names and ``ffn`` in place of its shorthands.

        Where ``positions`` is rope, ``rope_base`` and ``rope_factor`` become options of it, and of the rope
        that blocks of the pattern have of their own.
        """
        name, options = self.resolved_ffn()
        code = None if self.positions is None else own_spec(positions, self.positions)
        rope = {"base": self.rope_base, "scaling": self.rope_factor}
        rope = {key: value for key, value in rope.items() if value is not None}
        pattern = self._own_pattern()
        if code is not None and short(split_spec(code)[0]) == "rope":
            pattern = tuple(_with_rope(spec, rope) for spec in pattern)
            code, rope = _as_rope(code, rope), {}
        return attrs.evolve(
            self,
            layer_pattern=pattern,
            norm_type=own_spec(norms, self.norm_type),
            ffn={name: options},
            use_moe=None,
            ffn_activation=None,
            positions=code,
            rope_base=rope.get("base"),
            rope_factor=rope.get("scaling"),
        )
