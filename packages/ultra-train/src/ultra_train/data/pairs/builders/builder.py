"""Reading the data sets that builders put together, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.builders import ddsc, nli, scandi_qa
from ultra_train.data.pairs.builders.options import BuilderOptions
from ultra_train.data.pairs.builders.part import Part, open_parts
from ultra_train.data.pairs.kinds import PairKind
from ultra_train.data.pairs.reading import CACHE_DIR, PairSource, read_rows_of
from ultra_train.data.pairs.split_names import Split
from ultra_train.data.sources.files import may_be_on_hub, suggestion
from ultra_train.system.files import expand_user

if TYPE_CHECKING:
    import datasets

_log = logging.getLogger(__name__)


@attrs.frozen
class _Built:
    """A data set that a builder makes.

    Attributes:
        name: its name in messages and metrics.
        kind: what its rows are.
        parts: returns what it consists of.
    """

    name: str
    kind: PairKind
    parts: Callable[[BuilderOptions], list[Part]]


_BUILDERS: Mapping[str, Sequence[_Built]] = {
    "nli": (_Built("nli", "triplets", nli.parts),),
    "scandi_qa": (_Built("scandi_qa", "pairs", scandi_qa.parts),),
    "ddsc": (
        _Built("ddsc_pairs", "pairs", ddsc.pairs),
        _Built("ddsc_triplets", "triplets", ddsc.triplets),
    ),
}
BUILDERS = tuple(_BUILDERS)
"""The names of the data sets that :func:`build_pairs` reads."""


def build_pairs(
    name: str,
    options: BuilderOptions,
    *,
    cache_dir: str | Path = CACHE_DIR,
    notify: Notify = _log.warning,
) -> dict[str, dict[Split, datasets.Dataset]]:
    """Return the rows of a data set, by its name and split; ``ddsc`` is two, with and without negatives.

    Rows of pairs have the columns ``anchor`` and ``positive``, triplets also ``negative``.

    Args:
        name: one of ``BUILDERS``.
        options: what of it is used, and a local folder that is read instead of the hub.
        cache_dir: folder of the caches.
        notify: is called with a line about rows and parts that are left out.

    Raises:
        DataError: data sets of the hub cannot be read, and all of them are named; an option names what is not
            there; or there are no rows.
    """
    if name not in _BUILDERS:
        raise DataError(
            f"There is no builder of a data set {name!r}; there are {listed(BUILDERS)}."
            f"{did_you_mean(name, BUILDERS)}"
        )
    found: dict[str, dict[Split, datasets.Dataset]] = {}
    for built in _BUILDERS[name]:
        parts = built.parts(options)
        local, parts = _place(name, parts, options)
        rows = open_parts(name, parts, local, options.seed, attrs.asdict(options))
        if next(iter(rows.rows()), None) is None:
            continue
        described = PairSource(source=built.name, kind=built.kind, seed=options.seed)
        found[built.name] = read_rows_of(described, rows, cache_dir=cache_dir, notify=notify)
    if not found:
        raise DataError(f"{name}: there are no rows of the languages and tasks that are asked for.")
    if name == "scandi_qa" and scandi_qa.without_paws(options):
        notify(
            "scandi_qa: PAWS-X is left out; its Norwegian files are not on the hub, so name their folder "
            "with paws_data_dir, or set use_paws: false"
        )
    return found


def _place(name: str, parts: list[Part], options: BuilderOptions) -> tuple[Path | None, list[Part]]:
    """Return the local folder that is read, or None, and the parts with their names on the hub."""
    source = options.source
    if source is None:
        return None, parts
    if (path := expand_user(source)).is_dir():
        return path, parts
    if not may_be_on_hub(source) or path.exists():
        raise DataError(f"datasets.{name}.source: there is no folder {source}.{suggestion(source)}")
    if len({part.hub for part in parts}) > 1:
        raise DataError(
            f"datasets.{name}.source is {source}, but {name} consists of {len(parts)} data sets of the hub; "
            "only a local folder can take their place."
        )
    return None, [attrs.evolve(part, hub=source) for part in parts]
