"""Strict configuration: YAML with positions into frozen attrs classes, all faults at once.

::

    source = load_source("preset.yaml", overrides=["training.batch_size=8"])
    training, faults = collect(source, Training, ("training",))  # (instance or None, faults)
    faults.append(source.fault(("model", "num_heads"), "must divide hidden_size"))
    raise_faults(source, faults)  # one ConfigError with every fault; ``structure`` does all of this at once
    print(dump(unstructure(training)))

Fields of the attrs classes may be ``bool int float str None Any``, ``Literal[...]``, unions, ``list[X]``,
``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, ``Mapping[str, X]``, ``Sequence[X]``, other attrs
classes, and ``Annotated[X, Range(...)]`` anywhere. Nothing is coerced, except that an int fits a float. A
field without a default is required. A ``ValueError`` of a validator or ``__attrs_post_init__`` is a fault of
its section.
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
