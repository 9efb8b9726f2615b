"""The error of encoders."""

from __future__ import annotations

from ultra_core.errors import UltraError


class EncoderError(UltraError):
    """A model that does not exist, cannot be loaded, or is of another kind than is needed."""
