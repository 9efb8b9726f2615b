"""The embedded commands as a collection: which canonical command means the same as a paraphrase of it."""

from __future__ import annotations

import logging
from pathlib import Path

from ultra_train.data.cache import Notify
from ultra_train.data.es_commands import meanings
from ultra_train.data.pairs.reading import CACHE_DIR
from ultra_train.data.sources.beir import Entry, Judgement
from ultra_train.data.sources.embedded import language_of
from ultra_train.retrieval.collection import Collection, build_collection

QUERIES = 5
"""Most queries with the same meaning."""

_log = logging.getLogger(__name__)


def read_commands(
    source: str, *, cache_dir: str | Path | None = CACHE_DIR, notify: Notify = _log.warning
) -> Collection:
    """Return the collection of a language, with the splits ``dev`` and ``test``.

    A document is the shortest command with a meaning, that is, with an intent and values of its slots; there
    is one for every meaning. The queries are other commands with the meanings that are held out from the
    pairs to train on (``ultra_train.data.pairs``), so that no right answer was seen in training.

    Args:
        source: ``ultra:<language>-commands``.
        cache_dir: folder that caches the commands; None builds them in memory.
        notify: is called with a line when the cached file is damaged.

    Raises:
        DataError: there is no such language, or the package with the templates is not installed.
    """
    found = meanings(language_of(source), cache_dir=cache_dir, notify=notify)
    documents = [Entry(source, f"d{number}", meaning.canonical) for number, meaning in enumerate(found)]
    queries: list[Entry] = []
    judgements: dict[str, list[Judgement]] = {"dev": [], "test": []}
    for number, meaning in enumerate(found):
        if meaning.split not in judgements:
            continue
        for text in meaning.paraphrases[:QUERIES]:
            query = f"q{len(queries)}"
            queries.append(Entry(source, query, text))
            judgements[meaning.split].append(Judgement(source, query, f"d{number}", 1))
    return build_collection(source, documents, queries, judgements)
