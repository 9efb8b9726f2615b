"""Pairs from the embedded commands: their labels follow from the structure of the templates.

Two commands of the same intent with the same slots mean the same (score 1.0); with other slots they are close
(0.6); other commands to the same kind of device are related (0.3), and all others are not (0.0). These labels
are silver: nobody has looked at the pairs. A tenth of the meanings is dev, and another tenth test, so that no
sentence and no meaning is in two splits. Everything is a function of the sentences alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from ultra_train.data.es_commands import Sentence
from ultra_train.data.es_commands.meanings import split_of
from ultra_train.data.hashing import text_hash
from ultra_train.data.pairs.kinds import PairKind
from ultra_train.data.pairs.split_names import Split
from ultra_train.data.sources.rows import Row

_MOST_TRIES = 64
_PAGE = 5
"""Commands in a document."""

_Key = TypeVar("_Key", bound=Hashable)


def command_rows(sentences: Sequence[Sentence], kind: PairKind) -> Iterator[tuple[Split, Row]]:
    """Yield (split, values by column) of all rows of a kind.

    Args:
        sentences: the commands of a language.
        kind: the kind of rows; ``qa`` asks with a command for the page that lists other commands with its
            meaning.
    """
    by_split: dict[Split, list[Sentence]] = {"train": [], "dev": [], "test": []}
    for sentence in sentences:
        by_split[split_of(sentence.frame.name)].append(sentence)
    for split, chosen in by_split.items():
        for row in _ROWS[kind](_Partners(chosen)):
            yield split, row


class _Partners:
    """Finds for a command another one that has a given relation to it, always the same one.

    Args:
        sentences: the commands to choose from.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self.sentences = sentences
        self.by_frame = _grouped(sentences, lambda sentence: sentence.frame)
        self._by_intent = _grouped(sentences, lambda sentence: sentence.frame.intent)
        self._by_domain = _grouped(sentences, lambda sentence: sentence.frame.domain)

    def at(self, sentence: Sentence, similarity: float) -> Sentence | None:
        """Return a command of that similarity, or None if there is none, or none was found soon."""
        frame = sentence.frame
        pool = {
            1.0: self.by_frame[frame],
            0.6: self._by_intent[frame.intent],
            0.3: self._by_domain[frame.domain],
            0.0: self.sentences,
        }[similarity]
        return self._first(sentence, pool, lambda other: frame.similarity(other.frame) == similarity)

    def opposite(self, sentence: Sentence) -> Sentence | None:
        """Return a command that undoes one, or None."""
        opposite = sentence.frame.opposite
        pool = self.by_frame.get(opposite, []) if opposite is not None else []
        return self._first(sentence, pool, lambda other: True)

    def _first(
        self, sentence: Sentence, pool: Sequence[Sentence], fits: Callable[[Sentence], bool]
    ) -> Sentence | None:
        start = text_hash(sentence.text)
        for step in range(min(len(pool), _MOST_TRIES)):
            other = pool[(start + step) % len(pool)]
            if other.text != sentence.text and fits(other):
                return other
        return None


def _similar(partners: _Partners) -> Iterator[Row]:
    for sentence in partners.sentences:
        for score in (1.0, 0.6, 0.3, 0.0):
            if (other := partners.at(sentence, score)) is not None:
                yield {"sentence1": sentence.text, "sentence2": other.text, "score": score}


def _matches(partners: _Partners) -> Iterator[Row]:
    for sentence in partners.sentences:
        if (other := partners.at(sentence, 1.0)) is not None:
            yield {"anchor": sentence.text, "positive": other.text}


def _triplets(partners: _Partners) -> Iterator[Row]:
    for number, sentence in enumerate(partners.sentences):
        positive = partners.at(sentence, 1.0)
        wanted = (0.6, 0.3, 0.0)[number % 3]
        negative = partners.at(sentence, wanted) or partners.at(sentence, 0.0)
        if positive is not None and negative is not None:
            yield {"anchor": sentence.text, "positive": positive.text, "negative": negative.text}


def _inferences(partners: _Partners) -> Iterator[Row]:
    for sentence in partners.sentences:
        found = {
            "entailment": partners.at(sentence, 1.0),
            "neutral": partners.at(sentence, 0.6),
            "contradiction": partners.opposite(sentence),
        }
        for label, other in found.items():
            if other is not None:
                yield {"sentence1": sentence.text, "sentence2": other.text, "label": label}


def _questions(partners: _Partners) -> Iterator[Row]:
    """Yield queries with the page of their meaning; a command is on a page or is a query, never both."""
    for group in partners.by_frame.values():
        page = group[: max(1, min(_PAGE, len(group) // 2))]
        document = "\n".join(sentence.text for sentence in page)
        for sentence in group[len(page) :]:
            yield {"query": sentence.text, "document": document}


_ROWS: dict[PairKind, Callable[[_Partners], Iterator[Row]]] = {
    "paired_similarity": _similar,
    "pairs": _matches,
    "triplets": _triplets,
    "nli": _inferences,
    "qa": _questions,
}


def _grouped(sentences: Sequence[Sentence], key: Callable[[Sentence], _Key]) -> dict[_Key, list[Sentence]]:
    groups: dict[_Key, list[Sentence]] = defaultdict(list)
    for sentence in sentences:
        groups[key(sentence)].append(sentence)
    return dict(groups)
