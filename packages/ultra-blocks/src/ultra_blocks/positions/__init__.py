"""Position codes, and the function with which a block builds one from a spec."""

from ultra_blocks.positions.base import Kind, PositionCode, PositionSpec, build, real_positions

__all__ = ["Kind", "PositionCode", "PositionSpec", "build", "real_positions"]
