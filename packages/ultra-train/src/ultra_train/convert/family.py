"""What a family of models of transformers has in common with an encoder of ultra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import attrs
from transformers import PretrainedConfig

from ultra_blocks.activations import SPELLINGS, Activation
from ultra_blocks.config import UltraConfig
from ultra_core.errors import UltraError, listed


@attrs.frozen
class Rule:
    """A tensor of an encoder of ultra, and the tensors of the other model that are stacked in it.

    Attributes:
        ours: its name.
        theirs: their names, from the first row to the last.
    """

    ours: str
    theirs: tuple[str, ...]


@attrs.frozen
class Family:
    """A family of models.

    Attributes:
        name: what ``--to`` calls it.
        model_types: the ``model_type`` of its configs.
        fields: the fields of ``UltraConfig`` for a config; raises UltraError for one without counterpart.
        config: the config whose fields come closest to a ``UltraConfig``.
        rules: the tensors of a model with such a config.
        head: how the names of the tensors of its output head begin.
    """

    name: str
    model_types: tuple[str, ...]
    fields: Callable[[Any], dict[str, Any]]
    config: Callable[[UltraConfig], PretrainedConfig]
    rules: Callable[[UltraConfig], list[Rule]]
    head: tuple[str, ...]


NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_hidden_size": "intermediate_size",
    "initializer_range": "initializer_range",
    "tie_embeddings": "tie_word_embeddings",
}
"""Fields of ``UltraConfig``, and what the configs of all families call them."""


def common_fields(config: Any) -> dict[str, Any]:
    """Return the fields of an encoder with dense FFNs that only have other names in a config."""
    return {"use_moe": False, **{ours: getattr(config, theirs) for ours, theirs in NAMES.items()}}


def common_arguments(config: UltraConfig) -> dict[str, Any]:
    """Return the arguments of a config that only have other names in ours."""
    return {theirs: getattr(config, ours) for ours, theirs in NAMES.items()}


def pairs(ours: str, theirs: str, kinds: Sequence[str] = ("weight", "bias")) -> list[Rule]:
    """Return the rules of a module that both sides have."""
    return [Rule(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for kind in kinds]


def stacked(ours: str, theirs: Sequence[str]) -> list[Rule]:
    """Return the rules of a projection in which several of the other side are stacked."""
    return [Rule(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs)) for kind in ("weight", "bias")]


def activation(name: str) -> Activation:
    """Return our name of an activation of transformers.

    Raises:
        UltraError: there is none.
    """
    names: Mapping[str, Activation] = {**SPELLINGS, **{one: one for one in get_args(Activation)}}
    if name not in names:
        raise UltraError(f"its activation {name!r} is none of {listed(sorted(get_args(Activation)))}")
    return names[name]


def their_activation(name: str) -> str:
    """Return the name that transformers has for an activation of ours."""
    return {"gelu_tanh": "gelu_pytorch_tanh"}.get(name, name)


def need(found: Any, wanted: Any, what: str) -> None:
    """Raise unless an option of a config has the only value that can be converted.

    Raises:
        UltraError: it has another.
    """
    if found != wanted:
        raise UltraError(f"its {what} is {found!r}; only {wanted!r} can be converted")


def option(config: UltraConfig, block: str, name: str, default: Any) -> Any:
    """Return an option that some block of a pattern has, or the default."""
    values = [options.get(name, default) for kind, options in config.layers() if kind == block]
    return values[0] if values else default
