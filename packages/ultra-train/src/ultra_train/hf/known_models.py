"""The configs of base models, also of those whose files are not on this machine.

The sizes of the public models that the presets of ultra name are recorded in ``known_models.json``. They
suffice to count parameters, to estimate memory, and to build a model of the same architecture, without a
connection to the hub.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ultra_core.errors import UltraError, did_you_mean
from ultra_train.system.files import expand_user

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def base_config(name_or_path: str, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """Return the config of a local folder, of a model in the cache of the hub, or of a known model.

    The hub is not asked.

    Args:
        name_or_path: folder or hub id.
        trust_remote_code: run code that comes with the config.

    Raises:
        UltraError: the config is not on this machine and the model is not a known one.
    """
    from transformers import AutoConfig

    import ultra_blocks.hf  # noqa: F401  registers our classes, which a base model may have

    folder = expand_user(name_or_path)
    where = str(folder) if folder.is_dir() else name_or_path
    try:
        return AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        if folder.exists():
            reason = str(error).strip().splitlines()[0]
            raise UltraError(f"{name_or_path}: its config cannot be read ({reason})") from error
    known = _known()
    if name_or_path not in known:
        raise UltraError(
            f"the config of {name_or_path} is not on this machine: it is no folder, not in the cache of the "
            f"hub and not one of the models whose sizes ultra knows.{did_you_mean(name_or_path, known)} "
            f"Download it (hf download {name_or_path} config.json), or name a folder that has it "
            "(--set base_model=PATH)"
        )
    return AutoConfig.for_model(**known[name_or_path])


@cache
def _known() -> dict[str, dict[str, Any]]:
    """Return the recorded configs by hub id, other ids of the same model included."""
    file = resources.files("ultra_train.hf").joinpath("known_models.json")
    entries = json.loads(file.read_text("utf-8"))
    return {name: entry["config"] for entry in entries for name in entry["names"]}
