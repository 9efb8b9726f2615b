"""Layout: which tokens of a batch are real, which document each belongs to, and at which position."""

from ultra_blocks.layout.batch import Layout, check_layout
from ultra_blocks.layout.orders import RealFirst, Segments
from ultra_blocks.layout.packing import PackedRows, pack_documents

__all__ = ["Layout", "PackedRows", "RealFirst", "Segments", "check_layout", "pack_documents"]
