"""Evaluation of searches: every system over the same documents, and hybrids of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from ultra_core.errors import UltraError
from ultra_train.evaluation.baseline import Baseline
from ultra_train.evaluation.environment import versions
from ultra_train.evaluation.hybrids import Hybrid, fused
from ultra_train.evaluation.ranking_measures import HEADLINE, RankingMeasures, recall_cutoffs
from ultra_train.evaluation.results import (
    Candidate,
    Group,
    Resampling,
    Results,
    SystemFacts,
    baseline_name,
    fingerprint_of,
    group_of,
    values_of,
)
from ultra_train.evaluation.sparsity import sparsity_of
from ultra_train.evaluation.statistics import mean_of
from ultra_train.evaluation.systems import BM25System, Costs, SparseSystem, System
from ultra_train.retrieval.collection import Collection, Qrels
from ultra_train.retrieval.ranking import Ranking

DEPTH = 100
"""Documents that each search returns, and that hybrids are made of."""


@attrs.frozen(kw_only=True)
class Plan:
    """What is evaluated on a collection.

    Attributes:
        split: the split whose queries are evaluated.
        tuning_split: the split that the weights of hybrids are tuned on, or None for no tuned hybrids.
        seen_split: a split of the training; the documents that answer its queries are reported apart.
        recalls: numbers of documents that recall is measured at; by default 10 and 100.
        hybrids: whether searches are also combined.
        sparsity: whether the vectors of sparse encoders are analysed.
        resampling: how intervals are estimated.
    """

    split: str = "test"
    tuning_split: str | None = "dev"
    seen_split: str | None = None
    recalls: Sequence[int] = ()
    hybrids: bool = True
    sparsity: bool = False
    resampling: Resampling = attrs.field(factory=Resampling)

    @property
    def needed_splits(self) -> list[str]:
        """The splits whose judgements must exist."""
        return [self.split, *([self.seen_split] if self.seen_split else [])]

    @property
    def optional_splits(self) -> list[str]:
        """The splits whose judgements are used if they exist."""
        return [self.tuning_split] if self.tuning_split and self.hybrids else []


def fingerprint_of_split(collection: Collection, split: str) -> str:
    """Return the fingerprint of the judged queries of a split and of all documents."""
    qrels = collection.qrels[split]
    relevant = [sorted(found.items()) for found in qrels.relevant]
    return fingerprint_of(collection.judged(split), relevant, list(collection.documents))


def evaluate_retrieval(
    collection: Collection,
    systems: Sequence[System],
    plan: Plan,
    *,
    baseline: Baseline | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Results:
    """Evaluate systems on the queries of a split.

    Args:
        collection: the documents, queries and judgements.
        systems: the systems; they index the documents here.
        plan: what is evaluated.
        baseline: an earlier evaluation to compare with.
        notify: is called with a line before each long step.

    Raises:
        UltraError: the baseline is of other queries, or recall is asked for at more documents than there are.
    """
    recalls = recall_cutoffs(plan.recalls, len(collection.documents))
    fingerprint = fingerprint_of_split(collection, plan.split)
    if baseline is not None:
        baseline.check("retrieval", fingerprint)
    qrels = collection.qrels[plan.split]
    searches = _Searches(collection, plan, max([DEPTH, *recalls]))
    for system in systems:
        searches.run(system, notify)
    notify("combining and measuring")
    hybrids = list(searches.hybrids()) if plan.hybrids else []
    named = {**searches.found, **{hybrid.name: hybrid.ranking for hybrid in hybrids}}
    facts = [SystemFacts(name=one.name, kind=one.kind, costs=searches.costs[one.name]) for one in systems]
    facts += [
        SystemFacts(name=one.name, kind="hybrid", costs=one.costs(searches.costs), details=one.weights)
        for one in hybrids
    ]
    groups, candidates = [], []
    for name, part in _parts(collection, plan):
        if not part.numbers:
            continue
        measures = RankingMeasures(part.qrels, recalls)
        found = [_candidate(one, measures.of(part.of(named[one.name]))) for one in facts]
        if name == "all":
            candidates = found
            found = [*found, *_earlier(baseline)]
        groups.append(group_of(name, len(part.numbers), found, HEADLINE, plan.resampling))
    return Results(
        task="retrieval",
        data={
            "name": collection.name,
            "split": plan.split,
            "documents": len(collection.documents),
            "queries": len(qrels),
        },
        headline=HEADLINE,
        groups=groups,
        values=values_of(candidates),
        fingerprint=fingerprint,
        settings={**attrs.asdict(plan.resampling), "depth": searches.depth, "versions": versions()},
        sparsity={
            one.name: sparsity_of(searches.query_vectors[one.name], one.documents, one.vectors.tokenizer)
            for one in systems
            if isinstance(one, SparseSystem) and plan.sparsity
        },
        notices=[*collection.notices, *_notices(collection, plan, systems, hybrids, groups)],
    )


class _Searches:
    """The rankings of all systems, for the evaluated and for the tuning queries."""

    def __init__(self, collection: Collection, plan: Plan, depth: int) -> None:
        self.collection, self.plan = collection, plan
        self.depth = min(depth, len(collection.documents))
        self.found: dict[str, Ranking] = {}
        self.costs: dict[str, Costs] = {}
        self.query_vectors: dict[str, object] = {}
        self._tuning: dict[str, Ranking] = {}
        self._words: list[str] = []

    @property
    def tuning_qrels(self) -> Qrels | None:
        """The judgements that weights are tuned on."""
        return self.collection.qrels.get(self.plan.tuning_split or "") if self.plan.hybrids else None

    def run(self, system: System, notify: Callable[[str], None]) -> None:
        """Index the documents, and search for all queries."""
        documents, queries = self.collection.documents, self.collection.judged(self.plan.split)
        if system.name in self.found:
            raise UltraError(f"two systems have the name {system.name!r}")
        notify(f"{system.name}: indexing {len(documents):,} documents")
        system.index(documents)
        notify(f"{system.name}: searching for {len(queries):,} queries")
        self.found[system.name] = system.search(queries, self.depth)
        self.costs[system.name] = system.costs(queries, self.depth)
        if (tuning := self.tuning_qrels) is not None:
            self._tuning[system.name] = system.search(self.collection.judged(tuning.split), self.depth)
        if isinstance(system, SparseSystem) and self.plan.sparsity:
            self.query_vectors[system.name] = system.vectors.queries(queries)
        if isinstance(system, BM25System):
            self._words.append(system.name)

    def hybrids(self) -> Iterator[Hybrid]:
        """Yield each model with BM25, and all systems if they are more than two; by ranks and by weights."""
        names = list(self.found)
        models = [name for name in names if name not in self._words]
        sets = [[model, word] for word in self._words for model in models]
        if len(names) > 2 or (len(names) == 2 and not sets):
            sets.append(names)
        tuning = self.tuning_qrels
        quality = RankingMeasures(tuning).headline if tuning is not None else None
        for parts in sets:
            yield from fused(parts, self.found, self.depth, tuning=self._tuning, quality=quality)


@attrs.frozen
class _Part:
    """Some of the documents as answers.

    Attributes:
        qrels: the queries that they answer.
        numbers: places of these queries among the evaluated ones.
        removed: for each of them, the documents that answer it too but are not meant.
    """

    qrels: Qrels
    numbers: Sequence[int]
    removed: Sequence[set[int]]

    def of(self, ranking: Ranking) -> Ranking:
        """Return the ranking of these queries, without the documents that are not meant."""
        rows = [ranking.row(number) for number in self.numbers]
        return Ranking.of(rows, ranking.documents.shape[1]).without(self.removed)


def _parts(collection: Collection, plan: Plan) -> Iterator[tuple[str, _Part]]:
    qrels = collection.qrels[plan.split]
    yield "all", _Part(qrels, range(len(qrels)), [set() for _ in qrels.queries])
    if plan.seen_split is not None:
        seen = collection.qrels[plan.seen_split].documents
        for name, inside in (("seen", True), ("unseen", False)):
            rows = [
                (number, {d: grade for d, grade in found.items() if (d in seen) == inside}, found)
                for number, found in enumerate(qrels.relevant)
            ]
            rows = [row for row in rows if row[1]]
            part = Qrels(qrels.split, [qrels.queries[row[0]] for row in rows], [row[1] for row in rows])
            yield name, _Part(part, [row[0] for row in rows], [set(row[2]) - set(row[1]) for row in rows])


def _candidate(facts: SystemFacts, values: Mapping[str, np.ndarray]) -> Candidate:
    return Candidate(
        name=facts.name,
        kind=facts.kind,
        costs=facts.costs,
        details=facts.details,
        is_baseline=facts.is_baseline,
        values=values,
        statistics={measure: mean_of(numbers) for measure, numbers in values.items()},
    )


def _earlier(baseline: Baseline | None) -> Iterator[Candidate]:
    for one in baseline.systems if baseline is not None else ():
        yield _candidate(
            SystemFacts(name=baseline_name(one.name), kind=one.kind, is_baseline=True), one.values
        )


def _notices(
    collection: Collection,
    plan: Plan,
    systems: Sequence[System],
    hybrids: Sequence[Hybrid],
    groups: Sequence[Group],
) -> Iterator[str]:
    for system in systems:
        if isinstance(system, BM25System):
            yield f"BM25 stems words by the language {system.language!r}."
    if hybrids and not any(one.weights for one in hybrids):
        yield f"No hybrid with tuned weights: the collection has no split {plan.tuning_split!r}."
    if plan.seen_split is not None:
        seen = collection.qrels[plan.seen_split].documents
        answers = collection.qrels[plan.split].documents
        yield (
            f"{len(answers & seen):,} of the {len(answers):,} documents that answer queries also answer "
            f"queries of the split {plan.seen_split!r}; the others are unseen."
        )
        for name in {"seen", "unseen"} - {group.name for group in groups}:
            yield f"No query has a document that is {name}."
