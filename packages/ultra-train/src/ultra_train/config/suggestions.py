"""What is said of an unknown key: the key that was meant, and its place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, get_args, get_origin

import attrs

from ultra_core import optimizers
from ultra_core.config import Source
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_core.plugins.types import UNIONS
from ultra_optim.roles.option_names import OptionNames
from ultra_train.config.preset import PresetFile
from ultra_train.config.synonyms import DENSE, PARAMETERS, SBERT, SPARSE, flattened

Path = tuple[str | int, ...]

COMMAND_LINE = {
    "resume": "--resume",
    "resumefromcheckpoint": "--resume",
    "runname": "--name",
    "experimentname": "--name",
    "outputdir": "--output-dir",
    "loggingdir": "--output-dir",
    "nocuda": "--device",
    "usecpu": "--device",
    "device": "--device",
    "accelerator": "--device",
}
"""What is an option of ``ultra-train run`` instead of a key, by its name elsewhere, flattened."""

OF_OPTIMIZER = dict.fromkeys(("name", "type", "class", "cls", "optimizer", "optim"), "optimizer_class")
OF_OPTIMIZER |= dict.fromkeys(("params", "args", "kwargs", "options", "hyperparameters"), "parameters")
"""Keys of a section ``optimizer`` elsewhere, flattened."""


def suggestion(source: Source, cls: type, path: Path) -> str:
    """Return ``did you mean training.batch_size?`` for an unknown key; empty when nothing fits.

    Args:
        source: the file.
        cls: what it is read as.
        path: where the key stands.
    """
    dense = cls is PresetFile
    option = COMMAND_LINE.get(flattened(str(path[-1]))) if dense else None
    if dense and path[-2:-1] == ("optimizer",) and (own := OF_OPTIMIZER.get(flattened(str(path[-1])))):
        return f"did you mean {'.'.join(map(str, path[:-1]))}.{own}?"
    meant = [_parameter(str(path[-1])) if dense else None]
    meant += [_of_sbert(source, path), (DENSE if dense else SPARSE).get(flattened(str(path[-1])))]
    meant += [None if option else _elsewhere(cls, path)]
    answers = [f"the option {option} of ultra-train run"] if option else []
    if target := next(filter(None, meant), None):
        answers.insert(0, _with_own_optimizer(source, target))
    return f"did you mean {' or '.join(answers)}?" if answers else ""


def _with_own_optimizer(source: Source, target: str) -> str:
    """Return the place of a parameter of AdamW as one of the optimizer that the file names."""
    named = source.get(("training", "optimizer", "optimizer_class"))
    own = optimizers.canonical(named)[0].rpartition(":")[2] if isinstance(named, str) else "adamw"
    return target.replace(f"{PARAMETERS}.adamw-", f"{PARAMETERS}.{own}-")


def _parameter(name: str) -> str | None:
    """Return the place of a key that starts with the name of an optimizer."""
    prefix, dash, rest = name.partition("-")
    if not dash or prefix not in optimizers:
        return None
    try:
        names = OptionNames(prefix, optimizers.get(prefix), SEED_ROLES)
    except UltraError:
        return f"{PARAMETERS}.{name}"
    return f"{PARAMETERS}.{prefix}-{names.meant(rest) or rest}"


def _of_sbert(source: Source, path: Path) -> str | None:
    """Return the key of ``training.sbert`` that is meant there, or anywhere in a preset for that task."""
    name, section = flattened(str(path[-1])), ("training", "sbert")
    if path[:2] != section and source.get(("training", "task")) != "sbert":
        return None
    own = [place for place in key_places(PresetFile).get(name, ()) if place[:2] == section and place != path]
    return ".".join(own[0]) if own else SBERT.get(name)


def _elsewhere(cls: type, path: Path) -> str | None:
    """Return the place of a key by this name in another section, the nearest to the top of the file."""
    places = [place for place in key_places(cls).get(flattened(str(path[-1])), ()) if place != path]
    return ".".join(places[0]) if places else None


def place_of_no_parameter(key: str) -> str | None:
    """Return the place of a key of ultra, by its own or another name, that stands among parameters."""
    if (target := DENSE.get(flattened(key))) is not None:
        return None if target.startswith(PARAMETERS) else target
    return _elsewhere(PresetFile, ("training", "optimizer", "parameters", key))


@lru_cache
def key_places(cls: type) -> dict[str, list[tuple[str, ...]]]:
    """Return where every key of a file may stand, by its flattened name, the nearest to the top first.

    Keys of the items of lists and mappings, which are called ``name`` or ``source``, are left out.
    """
    places: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted(_keys(cls, ()), key=len):
        places.setdefault(flattened(path[-1]), []).append(path)
    return places


def _keys(cls: type, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    attrs.resolve_types(cls)
    for field in attrs.fields(cls):
        if field.init:
            yield from ((*path, name) for name in (field.name, *field.metadata.get("aliases", ())))
            for section in _sections(field.type):
                yield from _keys(section, (*path, field.name))


def _sections(hint: Any) -> Iterator[type]:
    origin = get_origin(hint) or hint
    if attrs.has(origin):
        yield origin
    elif origin in UNIONS or origin is Annotated:
        for part in get_args(hint):
            yield from _sections(part)
