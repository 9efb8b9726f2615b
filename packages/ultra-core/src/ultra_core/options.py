"""The path of options for plugins written for 0.1; new ones use ``contracts`` and ``plugins.signatures``."""

from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.signatures import Option, bind, check_options, read_options, require

__all__ = ["FromModel", "Option", "Range", "bind", "check_options", "read_options", "require"]
