"""The kinds of rows that sentence embeddings are trained and evaluated on, and their columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import attrs

PairKind = Literal["paired_similarity", "pairs", "triplets", "nli", "qa"]

_NOT_A_LETTER = re.compile(r"[^a-z0-9]")
_FIRST = "sentence1 texta text1 a s1 question1 sent1 firstsentence"
_SECOND = "sentence2 textb text2 b s2 question2 sent2 secondsentence"
_SENTENCES = {
    "sentence1": f"{_FIRST} sentencea premise anchor",
    "sentence2": f"{_SECOND} sentenceb hypothesis positive",
}
_SCORES = "score similarityscore similarity label labels relatednessscore goldscore"


@attrs.frozen
class Kind:
    """A kind of rows.

    Attributes:
        name: its name in presets.
        texts: the columns of texts that every row has, in the order that losses expect.
        target: the column of the score or class, or None.
        target_required: whether every row needs that column; if not, it is read where ``columns`` names it.
        negatives: least number of columns ``negative``, ``negative_2``, ...; None if there are none.
        usual: other names of each column, most likely first, in lower case and without punctuation.
    """

    name: str
    texts: tuple[str, ...]
    target: str | None
    target_required: bool
    negatives: int | None
    usual: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that every data set of this kind has."""
        negatives = negative_columns(self.negatives or 0)
        return (*self.texts, *negatives, *([self.target] if self.target and self.target_required else []))


def negative_columns(count: int) -> tuple[str, ...]:
    """Return ``negative``, ``negative_2``, ``negative_3``, ... as many as asked for."""
    return tuple("negative" if number == 1 else f"negative_{number}" for number in range(1, count + 1))


def plain(name: str) -> str:
    """Return the name of a column in lower case, without punctuation."""
    return _NOT_A_LETTER.sub("", name.lower())


def make_kind(
    name: str,
    usual: Mapping[str, str],
    *,
    target: str | None = None,
    target_required: bool = True,
    negatives: int | None = None,
) -> Kind:
    """Return a kind from the other names of its columns, separated by blanks; the texts come first."""
    texts = tuple(column for column in usual if column != target)
    names = {column: (plain(column), *others.split()) for column, others in usual.items()}
    return Kind(name, texts, target, target_required, negatives, names)


_POSITIVES = "pos positives passage document context answer answers response entailment"
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        make_kind("paired_similarity", {**_SENTENCES, "score": _SCORES}, target="score"),
        make_kind(
            "pairs",
            {
                "anchor": f"query question {_FIRST} source title",
                "positive": f"{_POSITIVES} {_SECOND} target paraphrase",
            },
        ),
        make_kind(
            "triplets",
            {"anchor": f"query question premise {_FIRST}", "positive": f"{_POSITIVES} {_SECOND}"},
            negatives=1,
        ),
        make_kind("nli", {**_SENTENCES, "label": "goldlabel labels entailment class"}, target="label"),
        make_kind(
            "qa",
            {
                "query": "question anchor input q title",
                "document": "passage positive pos positives context answer answers doc text response output",
                "score": "",
            },
            target="score",
            target_required=False,
            negatives=0,
        ),
    )
}
"""Every kind by its name.

* ``paired_similarity``: ``sentence1``, ``sentence2``, ``score`` from 0 (unrelated) to 1 (same meaning).
* ``pairs``: ``anchor``, ``positive``.
* ``triplets``: ``anchor``, ``positive``, ``negative`` and possibly ``negative_2``, ``negative_3``, ...
* ``nli``: ``sentence1``, ``sentence2``, ``label``, which is an index of ``NLI_LABELS``.
* ``qa``: ``query``, ``document`` and possibly negatives or a ``score``.
"""

NLI_LABELS = ("entailment", "neutral", "contradiction")
"""The classes of natural language inference in the order of SNLI and MultiNLI."""
