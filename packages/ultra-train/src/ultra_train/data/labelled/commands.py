"""Labelled rows from the embedded commands: the intent of each, and the slots of its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ultra_train.data.es_commands import Sentence
from ultra_train.data.es_commands.meanings import split_of
from ultra_train.data.pairs.split_names import Split
from ultra_train.data.sources.rows import Row

_WORD = re.compile(r"\S+")


def labelled_commands(sentences: Sequence[Sentence], kind: str) -> Iterator[tuple[Split, Row]]:
    """Yield (split, values by column) of every command; paraphrases are in the same split.

    Args:
        sentences: the commands of a language.
        kind: ``labelled_texts``: ``text`` and ``label``, its intent; ``tagged_words``: ``tokens``, its words,
            and ``tags``, the slots that they fill, in BIO.
    """
    for sentence in sentences:
        split = split_of(sentence.frame.name)
        if kind == "labelled_texts":
            yield split, {"text": sentence.text, "label": sentence.frame.intent.partition("/")[0]}
        else:
            words, tags = tagged(sentence)
            yield split, {"tokens": words, "tags": tags}


def tagged(sentence: Sentence) -> tuple[list[str], list[str]]:
    """Return the words of a command and their tags: ``B-slot``, ``I-slot`` or ``O``.

    A word that a value has a part of belongs to the value: of "50%" the value is "50".
    """
    words, tags = [], []
    for match in _WORD.finditer(sentence.text):
        tag = "O"
        for slot, start, end in sentence.spans:
            if match.start() < end and start < match.end():
                tag = f"{'B' if start >= match.start() else 'I'}-{slot}"
                break
        words.append(match.group())
        tags.append(tag)
    return words, tags
