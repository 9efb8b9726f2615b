"""The samples of masked language modelling: guesses for one token of each of a few held-out texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import torch

from ultra_train.data.batches.masking import IGNORED
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.hf.probe import accepts_argument, preserve_state
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.tasks.base import Guess, Sample
from ultra_train.tasks.mlm.fill_mask import readable

BLANK = "____"
"""How a sample shows the token that is to be guessed."""


@attrs.frozen
class Blank:
    """A text with one masked token.

    Attributes:
        tokens: its token ids, special tokens included and the masked one as it is.
        position: index of the masked token.
        text: the text with ``BLANK`` for the masked token.
    """

    tokens: tuple[int, ...]
    position: int
    text: str


def choose_blanks(
    shards: TokenShards, tokenizer: Any, *, count: int = 6, shortest: int = 6, longest: int = 24
) -> list[Blank]:
    """Return short texts, spread over the documents, with a token in their middle masked.

    The masked token is the longest of the middle third that has letters, so that there is something to guess.

    Args:
        shards: the documents; a few hundred of them are looked at.
        tokenizer: the tokenizer that made them.
        count: number of texts, if there are as many.
        shortest: tokens that a text has at least.
        longest: tokens that it has at most; longer documents are cut.
    """
    found: dict[str, Blank] = {}
    looked_at = np.unique(np.linspace(0, len(shards) - 1, min(50 * count, len(shards))).astype(np.int64))
    for part in np.array_split(looked_at, count):
        for index in part.tolist():
            tokens = shards.document(index)[:longest].tolist()
            blank = _blank(tokens, tokenizer) if len(tokens) >= shortest else None
            if blank is not None and blank.text not in found:
                found[blank.text] = blank
                break
    return list(found.values())


def _blank(tokens: list[int], tokenizer: Any) -> Blank | None:
    """Return a text with a blank; None where it is no plain text or its middle has no token with letters."""
    special = set(tokenizer.all_special_ids)
    third = len(tokens) // 3
    middle = {i: readable(tokenizer, tokens[i]) for i in range(third, len(tokens) - third)}
    words = {i: w for i, w in middle.items() if w.isalpha() and tokens[i] not in special}
    if not words:
        return None
    position = max(words, key=lambda i: len(words[i]))
    masked = [tokenizer.mask_token_id if i == position else t for i, t in enumerate(tokens)]
    kept = [t for t in masked if t == tokenizer.mask_token_id or t not in special]
    text = tokenizer.decode(kept).replace(tokenizer.mask_token, f" {BLANK} ")
    text = " ".join(text.split())
    return Blank(tuple(tokens), position, text) if text.isprintable() and text.count(BLANK) == 1 else None


def guess_blanks(trainer: Any, tokenizer: Any, blanks: Sequence[Blank], top_k: int = 3) -> Iterator[Sample]:
    """Yield the most probable tokens for every blank; none where the predictions are not finite.

    Args:
        trainer: the trainer of the run, in the middle of an evaluation.
        tokenizer: the tokenizer.
        blanks: the texts.
        top_k: guesses for each.
    """
    known = num_token_ids(tokenizer)
    for blank in blanks:
        tokens = torch.tensor([blank.tokens])
        labels = torch.full_like(tokens, IGNORED)
        labels[0, blank.position] = blank.tokens[blank.position]
        inputs = {"input_ids": tokens.clone(), "labels": labels}
        inputs["input_ids"][0, blank.position] = tokenizer.mask_token_id
        if accepts_argument(trainer.model, "attention_mask"):
            inputs["attention_mask"] = torch.ones_like(tokens)
        with preserve_state(trainer.model), trainer.accelerator.autocast():
            logits = trainer.head.logits(trainer.model.eval(), trainer._prepare_inputs(inputs))[0]
        scores = torch.softmax(logits[0, :known].float(), -1)
        best = scores.topk(min(top_k, known)) if bool(scores.isfinite().all()) else None
        yield Sample(
            given=blank.text,
            expected=readable(tokenizer, blank.tokens[blank.position]),
            guesses=()
            if best is None
            else tuple(
                Guess(text=readable(tokenizer, token), score=score)
                for token, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ),
        )
