"""The learning-rate roles of the parameters of a model, before it is built."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ultra_blocks.config import UltraConfig
from ultra_core import blocks
from ultra_core.errors import UltraError
from ultra_train.system.files import expand_user

ROLES_OF_TRANSFORMERS = frozenset({"embeddings", "norms", "attention", "other"})
"""The roles of the parameters of a model of transformers."""


def roles_of_model(model: UltraConfig | None) -> frozenset[str]:
    """Return the roles of the parameters of a new encoder; for None, a base model, those of any model."""
    pattern = model.layer_pattern if model is not None else ()
    return roles_of_blocks([name for item in pattern for name in ([item] if isinstance(item, str) else item)])


def roles_of_blocks(pattern: Iterable[str]) -> frozenset[str]:
    """Return the roles that parameters of these blocks have, beside embeddings, norms and other."""
    found = {"embeddings", "norms", "other"}
    known = blocks.spellings()
    for name in {name for name in pattern if name.rpartition(":")[2] in known}:
        try:
            found.add(getattr(blocks.get(name), "role", "other"))
        except UltraError:
            continue  # the rule about the pattern says so
    return frozenset(found)


def roles_of_base(name: str) -> frozenset[str] | None:
    """Return the roles that the parameters of a base model may have; None where they are not known.

    Models of transformers have no blocks of ours. A model on this machine that is ours, or that brings code
    of its own, may have any.
    """
    folder = expand_user(name)
    if not folder.is_dir():
        return ROLES_OF_TRANSFORMERS
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or "auto_map" in config or config.get("model_type") == "ultra":
        return None
    return ROLES_OF_TRANSFORMERS
