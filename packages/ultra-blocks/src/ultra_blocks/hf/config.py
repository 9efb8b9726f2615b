"""UltraHFConfig: the fields of UltraConfig as a transformers config, and the plugins of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ultra_blocks.config import UltraConfig, split_spec
from ultra_core import blocks, ffns, norms, positions
from ultra_core.errors import PluginError, UltraError
from ultra_core.plugins.registry import Registry

REGISTRIES: dict[str, Registry] = {"block": blocks, "norm": norms, "ffn": ffns, "position code": positions}

AUTO_CLASSES = {
    "AutoConfig": "UltraHFConfig",
    "AutoModel": "UltraModel",
    "AutoModelForMaskedLM": "UltraForMaskedLM",
    "AutoModelForMultipleChoice": "UltraForMultipleChoice",
    "AutoModelForQuestionAnswering": "UltraForQuestionAnswering",
    "AutoModelForSequenceClassification": "UltraForSequenceClassification",
    "AutoModelForTokenClassification": "UltraForTokenClassification",
}
"""The classes that the Auto classes of transformers load."""

REMOTE_CODE = "modeling_ultra"
REMOTE_SOURCE = f'''"""An ultra encoder: pip install "ultra-blocks[transformers]" brings its classes."""

from ultra_blocks.hf import (
    {
    """
    """.join(f"{name}," for name in sorted(AUTO_CLASSES.values()))
}
)

__all__ = [
    {
    """
    """.join(f'"{name}",' for name in sorted(AUTO_CLASSES.values()))
}
]
'''


class MissingExtraError(UltraError, ImportError):
    """An optional dependency is required and not installed."""


try:
    from transformers import PreTrainedConfig
except ImportError as error:
    raise MissingExtraError(
        "ultra_blocks.hf needs transformers 5, which is not installed or too old; "
        'run: pip install "ultra-blocks[transformers]"'
    ) from error

_Fields: Any = dataclasses.make_dataclass(
    "_Fields", [(f.name, Any, dataclasses.field(default=f.default)) for f in attrs.fields(UltraConfig)]
)


class UltraHFConfig(_Fields, PreTrainedConfig):
    """An :class:`UltraConfig` as a transformers config: all of its fields, and those below.

    Args:
        sparse_prediction: in training mode and with labels, decode masked positions only, so that the logits
            are ``(M, V)`` for the M labels other than -100 in reading order. False: the logits are always
            ``(B, T, V)``, as they are in evaluation mode.
        classifier_pooling: how heads over whole texts get the state of a text: ``cls`` (the first token),
            ``mean`` or ``max``.
        pad_token_id: as in other configs of transformers.
        plugins: the packages of the plugins of the model, written when it is saved.
        auto_map: the classes for ``trust_remote_code=True``.
    """

    model_type = "ultra"
    attribute_map = {  # noqa: RUF012 (transformers reads a plain class attribute)
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "num_key_value_heads": "num_kv_heads",
        "intermediate_size": "ffn_hidden_size",
        "max_position_embeddings": "max_positions",
        "tie_word_embeddings": "tie_embeddings",
    }

    sparse_prediction: bool = True
    classifier_pooling: str = "cls"
    pad_token_id: int | None = None
    plugins: list[dict[str, str]] | None = None
    auto_map: dict[str, str] | None = None

    @classmethod
    def from_ultra(cls, config: UltraConfig, **kwargs: Any) -> UltraHFConfig:
        """Return the same model as a transformers config; ``kwargs`` are fields of transformers."""
        return cls(**attrs.asdict(config, recurse=False), **kwargs)

    def to_ultra(self) -> UltraConfig:
        """Return the config of the model.

        Raises:
            PluginError: a plugin of the saved model is not installed; the message says what to install.
        """
        for plugin in self.plugins or ():
            _require(plugin)
        return UltraConfig(**{f.name: getattr(self, f.name) for f in attrs.fields(UltraConfig)})

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write ``config.json`` with the packages of plugins, and the file for ``trust_remote_code``."""
        self.plugins = [dict(plugin) for plugin in needed_plugins(self.to_ultra())]
        self.auto_map = {auto: f"{REMOTE_CODE}.{name}" for auto, name in AUTO_CLASSES.items()}
        folder = Path(save_directory)
        if not folder.is_file():  # transformers reports a file
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{REMOTE_CODE}.py").write_text(REMOTE_SOURCE, encoding="utf-8")
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Do nothing: the code is in an installed package and must not be copied beside the weights."""


def needed_plugins(config: UltraConfig) -> list[dict[str, str]]:
    """Return kind, name, distribution and version of every plugin of a config."""
    found = []
    for kind, name in _named(config):
        entry = REGISTRIES[kind].entry(name)
        found.append(
            {"kind": kind, "name": entry.name, "distribution": entry.distribution, "version": entry.version}
        )
    return [plugin for i, plugin in enumerate(found) if plugin not in found[:i]]


def _named(config: UltraConfig) -> Iterator[tuple[str, str]]:
    for name, options in config.layers():
        yield "block", name
        if isinstance(spec := options.get("positions"), str | dict):
            yield "position code", split_spec(spec)[0]
    yield "norm", config.norm()[0]
    name, options = config.resolved_ffn()
    yield "ffn", name
    if "expert" in options:
        yield "ffn", split_spec(options["expert"])[0]
    if config.positions is not None:
        yield "position code", split_spec(config.positions)[0]


def _require(plugin: dict[str, str]) -> None:
    kind, name, distribution = plugin["kind"], plugin["name"], plugin["distribution"]
    offered = [entry.distribution for entry in REGISTRIES[kind].entries() if entry.name == name]
    if distribution in offered:
        return
    version = plugin["version"]
    instead = f" (offered here by {', '.join(offered)}, which is another one)" if offered else ""
    if version:
        what = f'run: pip install "{distribution}=={version}"'
    else:
        what = f"it was added at run time under the source {distribution!r}: add it again before loading"
    raise PluginError(
        f"this model needs the {kind} {name!r} of {distribution} {version}".rstrip()
        + f", which is not installed or is switched off by ULTRA_DISABLE_PLUGINS{instead}; {what}"
    )
