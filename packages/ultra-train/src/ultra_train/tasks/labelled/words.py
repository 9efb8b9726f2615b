"""Words as pieces: a text is tokenised as a whole, as pipelines do, and its pieces find their words.

Tokenizers that are given words one by one leave out the blanks between them, and byte-level ones, such as
RoBERTa's, then give other pieces than for the text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

Words = list[list[int | None]]
"""The word of every piece of every text; None for pieces of no word, such as special tokens."""


def encode_words(tokenizer: Any, texts: Sequence[Sequence[str]], max_length: int) -> tuple[Any, Words]:
    """Return the pieces of texts, and the word of each.

    Args:
        tokenizer: a fast tokenizer, which knows the characters of every piece.
        texts: the words of every text.
        max_length: tokens of a text at most; words beyond have no pieces.
    """
    encoded = tokenizer(
        [" ".join(words) for words in texts],
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
    )
    offsets = encoded.pop("offset_mapping")
    return encoded, [words_of_pieces(*pair) for pair in zip(texts, offsets, strict=True)]


def words_of_pieces(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """Return the word that the last character of every piece is of; a piece may begin with a blank.

    Args:
        words: the words of a text, which blanks join.
        offsets: the first character and the end of every piece in that text.
    """
    starts = [0, *accumulate(len(word) + 1 for word in words[:-1])]
    found: list[int | None] = []
    for start, end in offsets:
        word = bisect_right(starts, end - 1) - 1
        inside = start < end and end - 1 < starts[word] + len(words[word])
        found.append(word if inside else None)
    return found
