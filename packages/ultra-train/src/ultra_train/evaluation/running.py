"""From models and data to results: everything is checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from ultra_core.errors import UltraError, listed
from ultra_train.data.sources.embedded import is_embedded
from ultra_train.embeddings.loading import find, load_encoder
from ultra_train.evaluation.baseline import Baseline, read_baseline
from ultra_train.evaluation.pair_data import TASKS, read_pair_set
from ultra_train.evaluation.pairs import evaluate_pairs
from ultra_train.evaluation.ranking_measures import recall_cutoffs
from ultra_train.evaluation.results import Results
from ultra_train.evaluation.retrieval import Plan, evaluate_retrieval, fingerprint_of_split
from ultra_train.evaluation.systems import BM25System, system_of
from ultra_train.evaluation.vectors import DenseVectors, SparseVectors, vectors_of
from ultra_train.retrieval.languages import check_language
from ultra_train.retrieval.reading import is_collection, read_collection
from ultra_train.system.run_files import MODEL, RUNS

RETRIEVAL = "retrieval"


@attrs.frozen(kw_only=True)
class Loading:
    """How models are loaded.

    Attributes:
        device: the device; by default the best one of this machine.
        batch_size: texts that a model gets at once.
        max_length: tokens to which texts are cut; by default as the model was saved.
        trust_remote_code: whether code that comes with a model is run.
        runs: folder of runs.
    """

    device: str | None = None
    batch_size: int = 32
    max_length: int | None = None
    trust_remote_code: bool = False
    runs: Path = Path(RUNS)


@attrs.frozen(kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        models: folders of models or runs, names of runs, or hub ids.
        source: the data.
        task: ``retrieval``, ``sts``, ``triplets`` or ``binary``; None for
            retrieval on a collection.
        split: the split of pairs or triplets; by default the first there is of test, dev and train.
        columns: name of a column of pairs or triplets as ultra calls it -> its name in the data.
        plan: what is evaluated on a collection.
        bm25: whether BM25 is beside the models.
        language: the language whose stemmer BM25 uses; guessed from the documents by default.
        loading: how models are loaded.
        baseline: results of an earlier evaluation to compare with.
    """

    models: Sequence[str]
    source: str
    task: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = attrs.field(factory=dict)
    plan: Plan = attrs.field(factory=Plan)
    bm25: bool = True
    language: str | None = None
    loading: Loading = attrs.field(factory=Loading)
    baseline: Path | None = None

    @property
    def names(self) -> list[str]:
        """The names of the models in tables: the last part of a path, or all of it where two are alike."""
        short = [_short(model) for model in self.models]
        return [
            name if short.count(name) == 1 else model for name, model in zip(short, self.models, strict=True)
        ]


def evaluate(request: Request, notify: Callable[[str], None] = lambda line: None) -> Results:
    """Evaluate models.

    Args:
        request: the models and the data.
        notify: is called with a line before each long step.

    Raises:
        UltraError: an option, the data, the baseline or a model cannot be used.
    """
    baseline = read_baseline(request.baseline) if request.baseline is not None else None
    if len(set(request.models)) < len(request.models):
        raise UltraError(f"a model is named twice: {listed(list(request.models))}")
    for model in request.models:
        find(model, runs=request.loading.runs)
    if _task(request) == RETRIEVAL:
        return _evaluate_retrieval(request, baseline, notify)
    if not request.models:
        raise UltraError("name at least one model to evaluate on pairs of texts")
    pairs = read_pair_set(
        request.source,
        _task(request),
        split=request.split,
        columns=request.columns,
        notify=notify,
    )
    if baseline is not None:
        baseline.check(pairs.task, pairs.fingerprint)
    encoders = _encoders(request, notify)
    notify(f"comparing {len(pairs):,} rows")
    return evaluate_pairs(pairs, encoders, resampling=request.plan.resampling, baseline=baseline)


def _evaluate_retrieval(
    request: Request, baseline: Baseline | None, notify: Callable[[str], None]
) -> Results:
    plan = request.plan
    if not request.models and not request.bm25:
        raise UltraError("there is nothing to evaluate: name a model, or leave --no-bm25 out")
    if request.language is not None:
        check_language(request.language)
    collection = read_collection(request.source, plan.needed_splits, plan.optional_splits)
    if missing := [split for split in plan.needed_splits if split not in collection.qrels]:
        raise UltraError(
            f"{collection.name}: has no split {missing[0]!r}; there are {listed(sorted(collection.qrels))}"
        )
    recall_cutoffs(plan.recalls, len(collection.documents))
    if baseline is not None:
        baseline.check(RETRIEVAL, fingerprint_of_split(collection, plan.split))
    systems = [system_of(name, vectors) for name, vectors in _encoders(request, notify).items()]
    words = [BM25System(request.language)] if request.bm25 else []
    return evaluate_retrieval(collection, [*words, *systems], plan, baseline=baseline, notify=notify)


def _task(request: Request) -> str:
    collection = is_collection(request.source)
    if request.task is None and not collection:
        raise UltraError(
            f"--data: {request.source} is no collection with documents, queries and judgements; for pairs or "
            f"triplets say which: --task {' or '.join(TASKS)}"
        )
    if request.task not in (None, RETRIEVAL) and collection and not is_embedded(request.source):
        raise UltraError(
            f"--task {request.task}: {request.source} is a collection; it is evaluated by retrieval"
        )
    return request.task or RETRIEVAL


def _encoders(request: Request, notify: Callable[[str], None]) -> dict[str, DenseVectors | SparseVectors]:
    loading = request.loading
    found = {}
    for name, model in zip(request.names, request.models, strict=True):
        notify(f"{name}: loading")
        encoder = load_encoder(
            model,
            device=loading.device,
            trust_remote_code=loading.trust_remote_code,
            max_length=loading.max_length,
            runs=loading.runs,
        )
        found[name] = vectors_of(encoder, name, loading.batch_size)
    return found


def _short(model: str) -> str:
    path = Path(model)
    return path.parent.name if path.name == MODEL and path.parent.name else path.name or model
