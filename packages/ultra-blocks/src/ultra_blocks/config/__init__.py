"""The configuration of an encoder, as in the ``model`` section of a preset; imports no torch."""

from ultra_blocks.config.errors import ModelConfigError
from ultra_blocks.config.fields import UltraConfig
from ultra_blocks.config.specs import Spec, bare_name, canonical_spec, split_spec

__all__ = ["ModelConfigError", "Spec", "UltraConfig", "bare_name", "canonical_spec", "split_spec"]
