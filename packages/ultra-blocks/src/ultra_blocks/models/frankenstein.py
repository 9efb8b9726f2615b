"""The model class of most presets: any pattern of blocks, with the defaults of UltraConfig."""

from ultra_blocks.models.base import ModelPlugin

model = ModelPlugin(
    name="frankenstein",
    summary="An encoder of any blocks, norms, FFNs and position codes",
)
