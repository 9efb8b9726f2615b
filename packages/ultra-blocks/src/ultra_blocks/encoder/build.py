"""Builders of the parts of an encoder; an error names the plugin that raised it and its config field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
from torch import nn

from ultra_blocks.config import ModelConfigError, Spec, UltraConfig, split_spec
from ultra_blocks.linear import linear_factory
from ultra_blocks.norms.base import Place
from ultra_blocks.positions import PositionCode, build
from ultra_core import blocks, ffns, norms, positions
from ultra_core.errors import KeyPath, PluginError, UltraError
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.signatures import bind, read_options


def model_fields(config: UltraConfig, depth: float = 0.0) -> dict[str, Any]:
    """Return the values that plugins receive for parameters annotated ``FromModel``.

    Args:
        config: the model.
        depth: number of preceding layers divided by the number of layers.
    """
    fields = {field.name: getattr(config, field.name) for field in attrs.fields(UltraConfig)}
    fields["linear"] = linear_factory(config.use_bitnet)
    fields["norm"] = partial(build_norm, config, "mixer")
    fields["layer_depth"] = depth
    return fields


def build_norm(config: UltraConfig, place: Place, width: int | None = None) -> nn.Module:
    """Build the norm of a config for a place; ``width`` defaults to the hidden size."""
    name, options = config.norm()
    cls = norms.get(name)
    supplied = {"hidden_size": width or config.hidden_size, "place": place}
    with naming(norms, name, ("norm_type", name)):
        return cls(**bind(cls, options, supplied=supplied, model=attrs.asdict(config, recurse=False)))


def build_mixer(
    config: UltraConfig, name: str, options: Mapping[str, Any], fields: Mapping[str, Any]
) -> nn.Module:
    """Build a block of the pattern for the layer with the given ``model_fields``."""
    cls = blocks.get(name)
    options, model = dict(options), dict(fields)
    own = read_options(cls).get("positions")
    if own is not None:
        if "positions" in options:
            path: KeyPath = ("layer_pattern", name, "positions")
            options["positions"] = _position_factory(options["positions"], fields, path)
        elif _is_embedded(config.positions):
            model["positions"] = "nope"
        else:
            path = ("layer_pattern", name) if config.positions is None else ("positions",)
            model["positions"] = _position_factory(config.positions_for(own.default), fields, path)
    supplied = {"hidden_size": config.hidden_size, "causal": config.causal}
    with naming(blocks, name, ("layer_pattern", name)):
        return cls(**bind(cls, options, supplied=supplied, model=model))


def build_ffn(config: UltraConfig, fields: Mapping[str, Any]) -> nn.Module:
    """Build the FFN of the layer with the given ``model_fields``."""
    name, options = config.resolved_ffn()
    cls = ffns.get(name)
    sizes = {"hidden_size": config.hidden_size, "ffn_hidden_size": config.ffn_hidden_size}
    with naming(ffns, name, ("ffn", name)):
        return cls(**bind(cls, options, supplied={**sizes, "model": fields}, model=fields))


def embedded_positions(config: UltraConfig, fields: Mapping[str, Any]) -> PositionCode | None:
    """Build the position code that is added to the embeddings, or return None if there is none."""
    if config.positions is None or not _is_embedded(config.positions):
        return None
    return _position_factory(config.positions, fields, ("positions",))(
        head_dim=config.hidden_size // config.num_heads,
        num_heads=config.num_heads,
        hidden_size=config.hidden_size,
        causal=config.causal,
    )


@contextmanager
def naming(registry: Registry, name: str, path: KeyPath) -> Iterator[None]:
    """Convert errors raised while a plugin is built into errors that name it.

    Raises:
        ModelConfigError: the plugin raised a ValueError; the fault has the given path.
        PluginError: the plugin raised any other error, so it is broken.
    """
    try:
        yield
    except UltraError:
        raise
    except ValueError as error:
        raise ModelConfigError([(path, str(error))]) from error
    except Exception as error:
        entry = registry.entry(name)
        raise PluginError(
            f"the {registry.noun} {name!r} of {entry.distribution} {entry.version} cannot be built: "
            f"{type(error).__name__}: {error}"
        ) from error


def _is_embedded(spec: Spec | None) -> bool:
    """Whether a position code is added to the embeddings once, instead of being applied by blocks."""
    return spec is not None and getattr(positions.get(split_spec(spec)[0]), "kind", None) == "embed"


def _position_factory(spec: Any, fields: Mapping[str, Any], path: KeyPath) -> Callable[..., PositionCode]:
    """Return a factory with which a block builds its position code from the fields of the model."""

    def factory(*, head_dim: int, num_heads: int, hidden_size: int, causal: bool) -> PositionCode:
        with naming(positions, split_spec(spec)[0], path):
            return build(
                spec,
                head_dim=head_dim,
                num_heads=num_heads,
                hidden_size=hidden_size,
                causal=causal,
                model=fields,
            )

    return factory
