"""Strict configuration: YAML with positions into frozen attrs classes, every fault at once.

Use::

    source = load_source("preset.yaml", overrides=["training.batch_size=8"])   # or parse_source(text)
    preset = structure(source, Preset)                          # ConfigError with all faults
    training, faults = collect(source, Training, ("training",)) # (instance or None, faults): to add one's own
    faults.append(source.fault(("model", "num_heads"), "must divide hidden_size"))
    raise_faults(source, faults)                                # ConfigError when there is any
    print(dump(unstructure(preset)))

A class is an ordinary (frozen) attrs class. Its fields may be ``bool int float str None Any``,
``Literal[...]``, unions, ``list[X]``, ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``,
``Mapping[str, X]``, ``Sequence[X]``, other attrs classes, and ``Annotated[X, Range(...)]`` anywhere.
Nothing is coerced: ``"false"`` is no bool, ``1`` is no bool, ``2.7`` is no int; an int fits a float.
A field without a default is required. ``ValueError`` from an attrs validator or ``__attrs_post_init__``
becomes a fault of its section. ``Any`` is left for the caller to check.
"""

from ultra_core.config.reading import from_tree, load_source, parse_source
from ultra_core.config.source import Source
from ultra_core.config.structuring import collect, raise_faults, structure
from ultra_core.config.writing import dump, unstructure
from ultra_core.errors import ConfigError, Fault, KeyPath
from ultra_core.errors import KeyPath as Path  # the name in 0.1

__all__ = [
    "ConfigError",
    "Fault",
    "KeyPath",
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
