"""What measures a sparse encoder at every evaluation: NanoBEIR, or retrieval among the held-out texts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from sentence_transformers.sparse_encoder.evaluation import (
    SparseInformationRetrievalEvaluator,
    SparseNanoBEIREvaluator,
)

from ultra_core.errors import UltraError
from ultra_train.hf.hub import HubName, require_hub
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.evaluators import Evaluator
from ultra_train.tasks.sparse.sections import SparseEvaluation

NANOBEIR = "sentence-transformers/NanoBEIR-en"
"""The data sets of NanoBEIR on the hub."""

HELD_OUT_METRIC = "eval_dot_ndcg@10"
"""The main metric of retrieval among held-out texts."""

MOST_QUERIES, MOST_DOCUMENTS = 500, 5_000
"""Of the held-out rows that retrieval is measured on."""

Measure = Literal["nanobeir", "held_out", "none"]


def pick_measure(evaluation: SparseEvaluation) -> tuple[Measure, str | None]:
    """Return what measures a run, and why it is not what the preset asks for, or None.

    The hub is asked once, before a model is loaded.
    """
    if evaluation.evaluator != "sparse_nanobeir":
        return ("none" if evaluation.evaluator == "none" else "held_out"), None
    try:
        require_hub([HubName("evaluation.nanobeir_datasets", NANOBEIR, "dataset")])
    except UltraError as error:
        reason = str(error).partition(", and this machine")[0]
        return "held_out", (
            f"evaluation.evaluator sparse_nanobeir needs {NANOBEIR} ({reason}); retrieval is measured among "
            f"the held-out texts of the run instead ({HELD_OUT_METRIC})"
        )
    return "nanobeir", None


def nanobeir(names: Sequence[str] | None, batch_size: int) -> Evaluator:
    """Return the evaluator of NanoBEIR.

    Args:
        names: its data sets; None for all.
        batch_size: texts that are encoded together.
    """
    more: dict[str, Any] = {} if names is None else {"dataset_names": list(names)}
    evaluator = SparseNanoBEIREvaluator(batch_size=batch_size, write_csv=False, **more)
    return _named(evaluator, "NanoBEIR_mean_dot")


def held_out_retrieval(data: PairData, batch_size: int) -> Evaluator | None:
    """Return what measures how well the documents of held-out rows are found by their queries.

    All documents of the rows are candidates, negatives too.

    Args:
        data: the data sets of the run.
        batch_size: texts that are encoded together.

    Returns:
        the evaluator; None when no row has a query with a document.
    """
    queries, corpus, relevant = _collection([one for one in data.held_out if one.kind != "paired_similarity"])
    if not queries:
        return None
    evaluator = SparseInformationRetrievalEvaluator(
        queries=queries,
        corpus=corpus,
        relevant_docs=relevant,
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        batch_size=batch_size,
        write_csv=False,
    )
    return _named(evaluator, "dot_")


def _named(evaluator: Any, prefix: str) -> Evaluator:
    """Return an evaluator with those metrics of another that have a prefix.

    It computes in the precision of the weights: torch has no products of sparse matrices in bf16.
    """

    def measure(model: Any) -> Mapping[str, float]:
        with torch.autocast(model.device.type, enabled=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)  # once a process
            found: Mapping[str, float] = evaluator(model)
        return {name: value for name, value in found.items() if name.startswith(prefix)}

    return measure


Collection = tuple[dict[str, str], dict[str, str], dict[str, set[str]]]


def _collection(sets: Sequence[PairSet]) -> Collection:
    """Return queries and documents by their texts, and which documents belong to which query."""
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, set[str]] = {}
    for one in sets:
        rows = one.held_out
        if rows is None:
            continue
        query, positive, *negatives = one.text_columns
        share = MOST_QUERIES // len(sets)
        for row in rows.select(range(min(len(rows), share))):
            texts: Mapping[str, Any] = row
            queries[texts[query]] = texts[query]
            relevant.setdefault(texts[query], set()).add(texts[positive])
            for column in (positive, *negatives):
                if len(corpus) < MOST_DOCUMENTS or column == positive:
                    corpus[texts[column]] = texts[column]
    return queries, corpus, relevant
