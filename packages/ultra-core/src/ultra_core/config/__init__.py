"""Strict configuration: YAML with positions into frozen attrs classes, every fault at once."""

from ultra_core.config.reading import (
    ConfigError,
    Fault,
    Path,
    Source,
    collect,
    dump,
    from_tree,
    load_source,
    parse_source,
    raise_faults,
    structure,
    unstructure,
)

__all__ = [
    "ConfigError",
    "Fault",
    "Path",
    "Source",
    "collect",
    "dump",
    "from_tree",
    "load_source",
    "parse_source",
    "raise_faults",
    "structure",
    "unstructure",
]
