"""The results of an evaluation, and their file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import cattrs
import numpy as np

from ultra_core.errors import UltraError
from ultra_train.evaluation.sparsity import Sparsity
from ultra_train.evaluation.statistics import Measured, Score, Statistic, estimate
from ultra_train.evaluation.systems import Costs
from ultra_train.system import files

FORMAT = 1
RESULTS, SUMMARY, PAGE = "results.json", "results.md", "results.html"
"""Names of the files that an evaluation leaves."""

Values = Mapping[str, np.ndarray]
"""One or several values of a system for each item, from which its measures follow."""


@attrs.frozen(kw_only=True)
class SystemFacts:
    """What is known of a system beside its measures.

    Attributes:
        name: its name.
        kind: ``dense``, ``sparse``, ``BM25`` or ``hybrid``.
        costs: what it takes, or None.
        details: other facts about it, such as thresholds or weights.
        is_baseline: whether it is that of an earlier evaluation.
    """

    name: str
    kind: str
    costs: Costs | None = None
    details: Mapping[str, float] = attrs.field(factory=dict)
    is_baseline: bool = False


@attrs.frozen(kw_only=True)
class Candidate(SystemFacts):
    """A system whose measures are to be estimated.

    Attributes:
        values: its values for each item.
        statistics: its measures.
    """

    values: Values
    statistics: Mapping[str, Statistic]


@attrs.frozen(kw_only=True)
class SystemResult(SystemFacts):
    """The measures of a system.

    Attributes:
        scores: its measures.
    """

    scores: Mapping[str, Score]


@attrs.frozen(kw_only=True)
class Group:
    """The results on some of the items.

    Attributes:
        name: ``all``, or which items.
        items: how many there are.
        systems: the systems; the headline measure orders nothing, they are in the order of the evaluation.
    """

    name: str
    items: int
    systems: Sequence[SystemResult]


@attrs.frozen(kw_only=True)
class Results:
    """The results of an evaluation.

    Attributes:
        task: ``retrieval``, ``sts``, ``triplets`` or ``binary``.
        data: name of the data, split, and sizes.
        headline: the measure that systems are compared by.
        groups: the results on all items, and on some of them.
        values: for each system its values by item, by which later evaluations are compared.
        fingerprint: of the items; only evaluations on the same ones can be compared.
        settings: how intervals were estimated, versions of the libraries.
        sparsity: how sparse the vectors of each sparse encoder are, if that was asked for.
        notices: what a reader must know.
    """

    task: str
    data: Mapping[str, Any]
    headline: str
    groups: Sequence[Group]
    values: Mapping[str, Mapping[str, Sequence[float]]]
    fingerprint: str
    settings: Mapping[str, Any]
    sparsity: Mapping[str, Sparsity] = attrs.field(factory=dict)
    notices: Sequence[str] = ()

    def to_json(self) -> str:
        """Return the results as JSON."""
        return json.dumps({"format": FORMAT, **attrs.asdict(self)}, ensure_ascii=False, indent=1) + "\n"


def read_results(path: Path) -> Results:
    """Read the file of results.

    Raises:
        UltraError: it is not of this version.
    """
    content = files.read_json(path)
    if content.pop("format", None) != FORMAT:
        raise UltraError(f"{path} holds results of another version; evaluate again")
    found: Results = cattrs.structure(content, Results)
    return found


@attrs.frozen(kw_only=True)
class Resampling:
    """How intervals are estimated.

    Attributes:
        resamples: how many resamples are drawn.
        seed: their seed.
    """

    resamples: int = 2000
    seed: int = 0


def group_of(
    name: str, items: int, candidates: Sequence[Candidate], headline: str, resampling: Resampling
) -> Group:
    """Estimate the measures of systems on the same items.

    Each system is compared with that of the baseline that has its name, else with one of its kind, else with
    the first one of the baseline; without a baseline with BM25, else with the first system.
    """
    against = {one.name: _compared_with(one, candidates) for one in candidates}
    measured = [Measured(one.name, one.statistics, against[one.name]) for one in candidates]
    scores = estimate(measured, items, resamples=resampling.resamples, seed=resampling.seed)
    shared = [field.name for field in attrs.fields(SystemFacts)]
    systems = [
        SystemResult(scores=found, **{name: getattr(one, name) for name in shared})
        for one, found in zip(candidates, scores, strict=True)
    ]
    return Group(name=name, items=items, systems=systems)


def _compared_with(one: Candidate, candidates: Sequence[Candidate]) -> str | None:
    if one.is_baseline:
        return None
    earlier = [other for other in candidates if other.is_baseline]
    if earlier:
        same_name = [other for other in earlier if other.name == baseline_name(one.name)]
        same_kind = [other for other in earlier if other.kind == one.kind]
        return (same_name or same_kind or earlier)[0].name
    reference = next((other for other in candidates if other.kind == "BM25"), candidates[0])
    return reference.name if reference is not one else None


def baseline_name(name: str) -> str:
    """Return the name that a system of an earlier evaluation has beside the present ones."""
    return f"{name} (baseline)"


def values_of(candidates: Sequence[Candidate]) -> dict[str, dict[str, list[float]]]:
    """Return the values of the present systems."""
    return {
        one.name: {name: values.tolist() for name, values in one.values.items()}
        for one in candidates
        if not one.is_baseline
    }


def fingerprint_of(*parts: object) -> str:
    """Return a hash of the items of an evaluation, given as JSON values: 32 hexadecimal digits."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
