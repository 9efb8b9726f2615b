"""Scores of a teacher, for distillation.

A cross-encoder or a bigger bi-encoder rates the documents of a query, and losses learn from its scores:
margin MSE (Hofstätter et al., arXiv:2010.02666) from their differences, and the Kullback-Leibler divergence
from their distribution.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from ultra_core.errors import listed
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.identity import TARGETS, text_columns
from ultra_train.data.pairs.steps.model_identity import model_identity
from ultra_train.data.pairs.steps.stored import StoredStep
from ultra_train.data.token_cache.cache_folders import disk_errors_explained
from ultra_train.system import files

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_ROWS_AT_ONCE = 2048
_log = logging.getLogger(__name__)
Scores = NDArray[np.float64]


@attrs.frozen(kw_only=True)
class Teacher:
    """The teacher.

    Attributes:
        model: folder or hub name of the model.
        kind: ``"cross"`` for a cross-encoder, which reads query and document together, ``"bi"`` for an
            encoder of single texts, dense or sparse.
        batch_size: texts, or pairs of them, that are scored at a time.
        scale: factor of the scores; the cosines of a bi-encoder differ so little that about 20 is usual.
    """

    model: str
    kind: Literal["cross", "bi"] = "cross"
    batch_size: int = 32
    scale: float = 1.0


def add_scores(
    dataset: datasets.Dataset,
    teacher: Teacher,
    load: Callable[[], Any],
    *,
    cache_dir: str | Path,
    notify: Notify = _log.warning,
) -> datasets.Dataset:
    """Return the rows with the scores of a teacher.

    Rows with negatives get ``label``, the scores of all documents, the positive first, ``(documents,)``; a
    cross-encoder's are raw logits. Rows of two texts get ``score``, after the activation of a
    cross-encoder, which brings most of them to 0..1. A column of scores or labels that is there is replaced.

    Scores are kept in parts as they are computed, so that a run that is killed goes on where it was.

    Args:
        dataset: rows of a query and one or more documents.
        teacher: the model and how it scores.
        load: loads the model; it is called only when scores are missing.
        cache_dir: folder of the caches.
        notify: is called with a line about a replaced column.

    Raises:
        DataError: the rows have only one text, or a cross-encoder gives more than one score.
    """
    query, *documents = text_columns(dataset)
    if not documents:
        raise DataError(f"teacher: a query and a document are needed, but the only text is {query!r}.")
    about = {"model": model_identity(teacher.model), "options": attrs.asdict(teacher)}
    step = StoredStep("teacher", dataset, about, cache_dir, notify)
    replaced = [name for name in dataset.column_names if name in TARGETS]

    def make(notices: list[str]) -> Iterator[pa.RecordBatch]:
        if replaced:
            notices.append(f"teacher: its scores replace {listed(replaced)}")
        parts = _Parts(step.work, len(dataset), len(documents))
        parts.compute(lambda rows: _scored(dataset[rows.start : rows.stop], query, documents, scorer()))
        yield from _joined(dataset.select_columns([query, *documents]), parts)

    loaded: list[_Scorer] = []

    def scorer() -> _Scorer:
        if not loaded:
            kind = _CrossEncoder if teacher.kind == "cross" else _BiEncoder
            loaded.append(kind(load(), teacher, raw=len(documents) > 1))
        return loaded[0]

    return step.rows(make)


class _Parts:
    """The scores of a data set in files of some thousand rows each.

    Args:
        folder: their folder.
        rows: rows of the data set.
        documents: documents of a row.
    """

    def __init__(self, folder: Path, rows: int, documents: int) -> None:
        self._folder, self._documents = folder, documents
        self.ranges = [range(i, min(i + _ROWS_AT_ONCE, rows)) for i in range(0, rows, _ROWS_AT_ONCE)]

    def compute(self, score: Callable[[range], Scores]) -> None:
        """Compute the parts that are missing."""
        with disk_errors_explained(self._folder.parent):
            self._folder.mkdir(parents=True, exist_ok=True)
        for rows in self.ranges:
            if self.read(rows) is None:
                scores = score(rows)
                with (
                    disk_errors_explained(self._folder),
                    files.replacing(self._path(rows)) as path,
                    path.open("wb") as file,
                ):
                    np.save(file, scores)

    def read(self, rows: range) -> Scores | None:
        """Return the scores of a part, ``(rows, documents)``, or None when they are not there."""
        try:
            scores: Scores = np.load(self._path(rows), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return scores if scores.shape == (len(rows), self._documents) else None

    def _path(self, rows: range) -> Path:
        return self._folder / f"scores-{rows.start:012}.npy"


def _scored(rows: dict[str, Any], query: str, documents: Sequence[str], scorer: _Scorer) -> Scores:
    """Return the scores of some rows, ``(rows, documents)``."""
    queries = [text for text in rows[query] for _ in documents]
    texts = [text for row in zip(*(rows[name] for name in documents), strict=True) for text in row]
    return scorer.score(queries, texts).reshape(-1, len(documents))


def _joined(dataset: datasets.Dataset, parts: _Parts) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    arrow = dataset.with_format("arrow")
    for rows in parts.ranges:
        scores = parts.read(rows)
        assert scores is not None, "every part was computed before"
        if scores.shape[1] > 1:
            column, name = pa.array(list(scores), pa.list_(pa.float64())), "label"
        else:
            column, name = pa.array(scores[:, 0], pa.float64()), "score"
        table = pa.table(dict(arrow[rows.start : rows.stop].to_pydict()))
        yield from table.append_column(name, column).combine_chunks().to_batches()


class _Scorer(ABC):
    """Scores pairs of texts.

    Args:
        model: the teacher.
        teacher: how it scores.
        raw: whether a cross-encoder gives logits instead of what its activation makes of them.
    """

    def __init__(self, model: Any, teacher: Teacher, *, raw: bool) -> None:
        self.model, self.teacher, self.raw = model, teacher, raw

    @abstractmethod
    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        """Return the score of each pair, ``(pairs,)``."""


class _CrossEncoder(_Scorer):
    """Scores by a model that reads both texts together."""

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        import torch

        options: dict[str, Any] = {"activation_fn": torch.nn.Identity()} if self.raw else {}
        found = self.model.predict(
            list(zip(queries, documents, strict=True)),
            batch_size=self.teacher.batch_size,
            show_progress_bar=False,
            **options,
        )
        scores = np.asarray(found, np.float64)
        if scores.ndim != 1:
            raise DataError(
                f"teacher: {self.teacher.model} gives {scores.shape[-1]} scores for a pair, but one is "
                "needed; it is a classifier, not a ranking model."
            )
        return scores * self.teacher.scale


class _BiEncoder(_Scorer):
    """Scores by the similarity of single texts, each of which is encoded once."""

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        import torch

        options: dict[str, Any] = {"batch_size": self.teacher.batch_size, "show_progress_bar": False}
        asked, first = _distinct(queries)
        texts, second = _distinct(documents)
        vectors = self.model.encode_query(asked, convert_to_tensor=True, **options)
        others = self.model.encode_document(texts, convert_to_tensor=True, **options)
        with torch.no_grad():
            found = self.model.similarity_pairwise(
                vectors.index_select(0, torch.tensor(first, device=vectors.device)),
                others.index_select(0, torch.tensor(second, device=others.device)),
            )
        scores: Scores = found.double().cpu().numpy()
        return scores * self.teacher.scale


def _distinct(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the distinct texts, and for each text its place among them."""
    places: dict[str, int] = {}
    index = [places.setdefault(text, len(places)) for text in texts]
    return list(places), index
