"""The evaluation at the end of a pipeline: the models of its steps side by side."""

from __future__ import annotations

from collections.abc import Callable

from ultra_train.evaluation.results import RESULTS, Results, read_results
from ultra_train.evaluation.retrieval import Plan
from ultra_train.evaluation.running import Loading, Request
from ultra_train.evaluation.running import evaluate as measure
from ultra_train.pipeline.examples import write_texts
from ultra_train.pipeline.folder import PipelineFolder
from ultra_train.pipeline.sections import EvaluationSection
from ultra_train.report.evaluation_page import write_results
from ultra_train.retrieval.reading import read_collection


def evaluate(
    section: EvaluationSection, folder: PipelineFolder, device: str | None, say: Callable[[str], None]
) -> None:
    """Evaluate the models of the finished steps, and write the results.

    Args:
        section: what is evaluated.
        folder: the folder of the pipeline.
        device: where the models run; None for the best device of this machine.
        say: prints a line before each long step.
    """
    request = Request(
        models=[str(folder.model(name)) for name in section.models],
        source=section.data,
        plan=_plan(section),
        bm25=section.bm25,
        loading=Loading(device=device, batch_size=section.batch_size),
    )
    results = measure(request, say)
    folder.evaluation.mkdir(exist_ok=True)
    write_texts(folder, read_collection(section.data, [section.split]), section.split)
    write_results(results, folder.evaluation)  # last: they say that the rest is there


def check_collection(section: EvaluationSection) -> None:
    """Read the collection once, so that its faults are found before anything is trained.

    Raises:
        DataError: it cannot be read, lacks a split, or its parts do not fit together.
    """
    read_collection(section.data, _plan(section).needed_splits)


def _plan(section: EvaluationSection) -> Plan:
    return Plan(split=section.split, seen_split=section.seen_split, hybrids=section.hybrid, sparsity=True)


def results_of(folder: PipelineFolder) -> Results | None:
    """Return the results of the evaluation; None while there are none."""
    path = folder.evaluation / RESULTS
    return read_results(path) if path.is_file() else None


def is_evaluated(section: EvaluationSection, folder: PipelineFolder) -> bool:
    """Whether there are results of the models as they are now."""
    path = folder.evaluation / RESULTS
    models = [folder.model(name) for name in section.models]
    return path.is_file() and all(model.stat().st_mtime <= path.stat().st_mtime for model in models)
