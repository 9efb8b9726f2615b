"""Evaluation of similarities: scored pairs, triplets, and pairs that match or do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from ultra_core.errors import UltraError
from ultra_train.evaluation.baseline import Baseline
from ultra_train.evaluation.environment import versions
from ultra_train.evaluation.pair_measures import (
    HEADLINES,
    PairTask,
    best_accuracy,
    best_f1,
    binary_statistics,
    sts_statistics,
    triplet_statistics,
)
from ultra_train.evaluation.results import (
    Candidate,
    Resampling,
    Results,
    baseline_name,
    fingerprint_of,
    group_of,
    values_of,
)
from ultra_train.evaluation.statistics import Statistic

if TYPE_CHECKING:
    from ultra_train.evaluation.vectors import DenseVectors, SparseVectors


@attrs.frozen(kw_only=True)
class PairSet:
    """Pairs or triplets to evaluate on.

    Attributes:
        name: name of the data.
        split: the split.
        task: what is evaluated.
        columns: the texts: ``sentence1`` and ``sentence2``, or ``anchor``, ``positive`` and negatives.
        scores: score or class of each pair ``(N,)``; empty for triplets.
    """

    name: str
    split: str
    task: PairTask
    columns: Mapping[str, Sequence[str]]
    scores: np.ndarray

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def fingerprint(self) -> str:
        """The fingerprint of texts and scores."""
        return fingerprint_of(
            {name: list(texts) for name, texts in self.columns.items()}, self.scores.tolist()
        )

    def check(self) -> None:
        """Refuse what has no measure.

        Raises:
            UltraError: there are fewer than two items, all scores are equal, or classes are not 0 and 1.
        """
        if len(self) < 2:
            raise UltraError(
                f"{self.name}: the split {self.split!r} has {len(self)} rows; at least 2 are needed"
            )
        if self.task == "triplets":
            return
        values = set(self.scores.tolist())
        if self.task == "binary" and not values <= {0.0, 1.0}:
            raise UltraError(
                f"{self.name}: pairs of two classes have the scores 0 and 1, but {min(values - {0.0, 1.0})} "
                "is among these; use --task sts"
            )
        if len(values) < 2:
            raise UltraError(f"{self.name}: all scores of the split {self.split!r} are {values.pop()}")


def evaluate_pairs(
    pairs: PairSet,
    encoders: Mapping[str, DenseVectors | SparseVectors],
    *,
    resampling: Resampling = Resampling(),  # noqa: B008  frozen
    baseline: Baseline | None = None,
) -> Results:
    """Evaluate encoders on pairs or triplets.

    Args:
        pairs: the pairs.
        encoders: the encoders by name.
        resampling: how intervals are estimated.
        baseline: an earlier evaluation to compare with.

    Raises:
        UltraError: the pairs have no measure, or the baseline is of others.
    """
    pairs.check()
    if baseline is not None:
        baseline.check(pairs.task, pairs.fingerprint)
    candidates = [
        _candidate(pairs, name, encoder.kind, _similarities(pairs, encoder))
        for name, encoder in encoders.items()
    ]
    headline = HEADLINES[pairs.task]
    group = group_of("all", len(pairs), [*candidates, *_earlier(pairs, baseline)], headline, resampling)
    return Results(
        task=pairs.task,
        data={"name": pairs.name, "split": pairs.split, "rows": len(pairs)},
        headline=headline,
        groups=[group],
        values=values_of(candidates),
        fingerprint=pairs.fingerprint,
        settings={**attrs.asdict(resampling), "versions": versions()},
    )


def _similarities(pairs: PairSet, encoder: DenseVectors | SparseVectors) -> np.ndarray:
    """Return the similarity of each pair, or the margin of each triplet ``(N,)``."""
    first, second, *negatives = pairs.columns.values()
    found = encoder.similarities(first, second)
    if negatives:
        found -= np.max([encoder.similarities(first, negative) for negative in negatives], axis=0)
    if not np.isfinite(found).all():
        raise UltraError("the model gives similarities that are NaN or infinite")
    return found


def _candidate(
    pairs: PairSet, name: str, kind: str, similarities: np.ndarray, *, is_baseline: bool = False
) -> Candidate:
    details: dict[str, float] = {}
    if pairs.task == "binary":
        details = {
            "threshold of F1": best_f1(similarities, pairs.scores)[1],
            "threshold of accuracy": best_accuracy(similarities, pairs.scores)[1],
        }
    return Candidate(
        name=name,
        kind=kind,
        values={"similarity": similarities},
        statistics=_statistics(pairs, similarities),
        details=details,
        is_baseline=is_baseline,
    )


def _statistics(pairs: PairSet, similarities: np.ndarray) -> dict[str, Statistic]:
    if pairs.task == "triplets":
        return triplet_statistics(similarities)
    if pairs.task == "binary":
        return binary_statistics(similarities, pairs.scores)
    return sts_statistics(similarities, pairs.scores)


def _earlier(pairs: PairSet, baseline: Baseline | None) -> Iterator[Candidate]:
    for one in baseline.systems if baseline is not None else ():
        yield _candidate(pairs, baseline_name(one.name), one.kind, one.values["similarity"], is_baseline=True)
