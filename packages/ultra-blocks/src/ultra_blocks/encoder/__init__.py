"""The encoder that stacks blocks, its masked language modelling head, and the checks of its config."""

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder.build import build_norm
from ultra_blocks.encoder.meta_build import check_config, config_faults
from ultra_blocks.encoder.post_step import after_step
from ultra_blocks.encoder.stack import Encoder, EncoderLayer, EncoderOutput

__all__ = [
    "Encoder",
    "EncoderLayer",
    "EncoderOutput",
    "UltraConfig",
    "after_step",
    "build_norm",
    "check_config",
    "config_faults",
]
