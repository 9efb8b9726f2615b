"""Sentences with a blank for the end of a run: of the embedded Spanish commands, and of its own texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.tasks.base import LEAST_SHOWN
from ultra_train.tasks.mlm.fill_mask import guesses

NOTHING_LIKELY = f"In the sample sentences, the model gives no token a probability of {LEAST_SHOWN:.1%} yet."

SENTENCES = (
    "abre la [MASK] del garaje",
    "enciende la [MASK] de la cocina",
    "pon la [MASK] a 20 grados",
    "pon un temporizador de 10 [MASK]",
    "añade pan a la lista de la [MASK]",
)


def guesses_table(
    model: Any, tokenizer: Any, sentences: tuple[str, ...] = SENTENCES, top_k: int = 3
) -> Table | str:
    """Return a table of sentences with a blank and the model's best guesses for it.

    Guesses that would be shown as 0 % are left out; where none remains, a line says so instead of the table.
    """
    table = Table("sentence", "guesses")
    for sentence in sentences:
        best = guesses(model, tokenizer, sentence.replace("[MASK]", tokenizer.mask_token), top_k)[0]
        if told := [guess for guess in best if guess.probability >= LEAST_SHOWN]:
            table.add_row(
                sentence.replace("[MASK]", f"[bold]\\[{told[0].token}][/bold]"),
                ", ".join(f"{guess.token} {guess.probability:.0%}" for guess in told),
            )
    return table if table.rows else NOTHING_LIKELY


def sentence_with_a_blank(
    shards: TokenShards, tokenizer: Any, *, fewest: int = 4, most: int = 12
) -> str | None:
    """Return a short sentence of the texts with the tokenizer's own mask token for a word in its middle.

    Args:
        shards: documents; the first few hundred are looked at.
        tokenizer: the tokenizer that made them.
        fewest: words that the sentence has at least, where one of the documents does.
        most: words that it has at most; a longer document is cut.
    """
    longest: list[str] = []
    for words in _texts(shards, tokenizer):
        if fewest <= len(words) <= most:
            longest = words
            break
        longest = max(longest, words[:most], key=len)
    if not longest:
        return None
    middle = len(longest) // 2
    # punctuation around the word stays where it is
    longest[middle] = re.sub(r"\w+(?:['’-]\w+)*", lambda _: tokenizer.mask_token, longest[middle], count=1)
    return " ".join(longest) if tokenizer.mask_token in longest[middle] else None


def _texts(shards: TokenShards, tokenizer: Any) -> Iterator[list[str]]:
    """Yield the words of the first documents that are plain text."""
    for index in range(min(300, len(shards))):
        text = tokenizer.decode(shards.document(index).tolist(), skip_special_tokens=True)
        if text.isprintable() and re.search(r"\w", text):
            yield text.split()
