"""The error of everything that reads, writes or plans data."""

from ultra_core.errors import UltraError


class DataError(UltraError):
    """Data that cannot be used: says which file or source, where in it, what is wrong and what to do."""
