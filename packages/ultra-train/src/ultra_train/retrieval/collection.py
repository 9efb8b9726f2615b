"""A collection: documents, queries, and judgements which documents answer which queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.beir import Entry, Judgement

EXAMPLES = 3
"""How many examples an error shows."""


@attrs.frozen(eq=False)
class Qrels:
    """The judged queries of one split.

    Attributes:
        split: its name, such as ``test``.
        queries: numbers of the queries that at least one document answers.
        relevant: for each of them, the documents that answer it, with their grades from 1 on.
    """

    split: str
    queries: Sequence[int]
    relevant: Sequence[Mapping[int, int]]

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def documents(self) -> set[int]:
        """The documents that answer at least one query."""
        return {document for found in self.relevant for document in found}


@attrs.frozen(eq=False)
class Collection:
    """Documents and queries; both are numbered in their order.

    Attributes:
        name: name of the collection.
        document_ids: ids of the documents ``(N,)``.
        documents: their texts: title and text.
        query_ids: ids of all queries.
        queries: their texts.
        qrels: the judgements by split.
        notices: what a user should know about the data.
    """

    name: str
    document_ids: Sequence[str]
    documents: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Mapping[str, Qrels]
    notices: Sequence[str] = ()

    def judged(self, split: str) -> list[str]:
        """Return the texts of the queries of a split, in the order of its judgements."""
        return [self.queries[number] for number in self.qrels[split].queries]


def build_collection(
    name: str,
    documents: Iterable[Entry],
    queries: Iterable[Entry],
    judgements: Mapping[str, Iterable[Judgement]],
) -> Collection:
    """Return a collection after checking it.

    Args:
        name: its name.
        documents: all documents.
        queries: all queries.
        judgements: the judgements by split.

    Raises:
        DataError: there are no documents or queries, an id occurs twice, a judged query has no text,
            judgements name queries or documents that do not exist, or a split has no answered query.
    """
    corpus, document_numbers = _numbered("document", name, documents)
    asked, query_numbers = _numbered("query", name, queries)
    empty = [entry for entry in corpus if not entry.text]
    qrels = {
        split: _qrels(split, name, found, query_numbers, document_numbers)
        for split, found in judgements.items()
    }
    judged = dict.fromkeys(number for found in qrels.values() for number in found.queries)
    if blank := [asked[number] for number in judged if not asked[number].text]:
        raise DataError(f"{name}: {_count(blank, 'judged query')} without text: {_examples(blank)}")
    return Collection(
        name,
        [entry.id for entry in corpus],
        [entry.text for entry in corpus],
        [entry.id for entry in asked],
        [entry.text for entry in asked],
        qrels,
        [f"{_count(empty, 'document')} without title and text: {_examples(empty)}"] if empty else [],
    )


def _numbered(kind: str, name: str, entries: Iterable[Entry]) -> tuple[list[Entry], dict[str, int]]:
    """Return the entries and the number of each id."""
    found: list[Entry] = []
    numbers: dict[str, int] = {}
    twice: list[tuple[Entry, Entry]] = []
    for entry in entries:
        if entry.id in numbers:
            twice.append((found[numbers[entry.id]], entry))
        else:
            numbers[entry.id] = len(found)
            found.append(entry)
    if twice:
        shown = [f"{later.id!r} ({first.where} and {later.where})" for first, later in twice[:EXAMPLES]]
        raise DataError(
            f"{name}: {_count(twice, kind)} with the id of an earlier one: {_more(shown, twice)}; every id "
            "must occur once"
        )
    if not found:
        raise DataError(f"{name}: holds no {kind}")
    return found, numbers


def _qrels(
    split: str,
    name: str,
    judgements: Iterable[Judgement],
    queries: Mapping[str, int],
    documents: Mapping[str, int],
) -> Qrels:
    """Return the judgements of a split by numbers of queries and documents."""
    relevant: dict[int, dict[int, int]] = {}
    lost: list[Judgement] = []
    total = 0
    for judgement in judgements:
        total += 1
        query, document = queries.get(judgement.query), documents.get(judgement.document)
        if query is None or document is None:
            lost.append(judgement)
        elif judgement.grade > 0:
            relevant.setdefault(query, {})[document] = judgement.grade
    if lost:
        raise DataError(
            f"{name}: {len(lost):,} of {total:,} judgements of the split {split!r} name a query or document "
            f"that does not exist: {_more(list(_lost(lost, queries)), lost)}; are they those of another "
            "collection?"
        )
    if not relevant:
        raise DataError(f"{name}: no query of the split {split!r} has a document that answers it")
    return Qrels(split, list(relevant), list(relevant.values()))


def _lost(judgements: Sequence[Judgement], queries: Mapping[str, int]) -> Iterator[str]:
    for where, query, document, _ in judgements[:EXAMPLES]:
        kind, missing = ("query", query) if query not in queries else ("document", document)
        yield f"{kind} {missing!r} ({where})"


def _count(items: Sequence[object], noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{len(items):,} {noun if len(items) == 1 else plural}"


def _examples(entries: Sequence[Entry]) -> str:
    return _more([f"{entry.id!r} ({entry.where})" for entry in entries[:EXAMPLES]], entries)


def _more(shown: Sequence[str], items: Sequence[object]) -> str:
    rest = len(items) - len(shown)
    return listed(shown) + (f" and {rest:,} more" if rest > 0 else "")
