"""Position codes, and how a block builds the one that a preset names."""

from ultra_blocks.positions.base import Kind, PositionCode, PositionSpec, build, real_positions

__all__ = ["Kind", "PositionCode", "PositionSpec", "build", "real_positions"]
