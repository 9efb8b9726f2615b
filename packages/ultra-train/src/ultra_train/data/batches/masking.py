"""Masking for masked language modelling: a pure function of (seed, epoch, document, position).

A document has the same mask in every batch and in a run that was interrupted, since there is no random
generator with a state.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ultra_train.data.batches.batch_plan import PlannedBatch
from ultra_train.data.errors import DataError
from ultra_train.data.hashing import combine, splitmix64, uniform
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.hf.vocabulary import num_token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
_MASKS = 3  # another use of a hash than those in batch_plan.py
_WORD_STARTS = ("\u2581", "\u0120")  # SentencePiece and byte-level tokenizers mark the first token of a word
_CONTINUED = "##"  # WordPiece marks the others


class MLMCollator:
    """Turns a planned batch into tensors: gathers its documents, masks them, puts them into rows.

    Each token of a document is chosen with probability ``mlm_probability``, but special tokens and padding
    never are. If no token is chosen, the one with the smallest random number is, so that every document has a
    target (unless it consists of special tokens). A share ``mask_rate`` of the chosen tokens becomes
    ``[MASK]``, a share ``random_rate`` becomes a random token, and the rest stays as it is (80, 10 and 10 %
    in Devlin et al. 2019, arXiv:1810.04805).

    Differs from the paper: at least one token of each document is chosen, and a random token is never a
    special token.

    Args:
        shards: the documents.
        tokenizer: defines the special tokens.
        mlm_probability: probability that a token is chosen, above 0 and below 1.
        seed: seed of the masks.
        policy: ``"token"`` chooses single tokens; ``"whole_word"`` chooses all tokens of a word together.
        mask_rate: share of the chosen tokens that become ``[MASK]``.
        random_rate: share of the chosen tokens that become a random token.
        max_length: length of a row in packed batches; None means that of the shards.
        widths: lengths of rows in ascending order; rows are padded to the first of them that is long enough.
            Without any, they are as long as the longest row of their batch.

    Raises:
        DataError: the tokenizer has no mask or padding token, or a probability is out of range.
    """

    def __init__(
        self,
        shards: TokenShards,
        tokenizer: PreTrainedTokenizerBase,
        *,
        mlm_probability: float = 0.15,
        seed: int = 0,
        policy: Literal["token", "whole_word"] = "token",
        mask_rate: float = 0.8,
        random_rate: float = 0.1,
        max_length: int | None = None,
        widths: Sequence[int] = (),
    ) -> None:
        if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
            raise DataError(
                "Masked language modelling needs a tokenizer with a mask token and a padding token."
            )
        if not 0 < mlm_probability < 1:
            raise DataError(f"mlm_probability is {mlm_probability}, but it must be above 0 and below 1.")
        if min(mask_rate, random_rate) < 0 or mask_rate + random_rate > 1:
            raise DataError(
                f"mask_rate {mask_rate} and random_rate {random_rate} must not sum to more than 1."
            )
        self.shards = shards
        self.seed = seed
        self.mlm_probability = mlm_probability
        self.mask_rate, self.random_rate = mask_rate, random_rate
        self.max_length = max_length or shards.max_length
        self.widths = tuple(widths)
        self._pad: int = tokenizer.pad_token_id
        self._mask: int = tokenizer.mask_token_id
        self._special = np.zeros(num_token_ids(tokenizer), dtype=bool)
        self._special[tokenizer.all_special_ids] = True
        known = np.zeros_like(self._special)
        known[list(tokenizer.get_vocab().values())] = True
        self._ordinary = np.flatnonzero(known & ~self._special)
        self._starts_word = _word_starts(tokenizer) if policy == "whole_word" else None

    def over(self, shards: TokenShards, seed: int) -> MLMCollator:
        """Return a collator with the same settings for other documents and another seed."""
        other = copy.copy(self)
        other.shards, other.seed = shards, seed
        return other

    def __call__(self, batch: PlannedBatch) -> dict[str, torch.Tensor]:
        """Return the tensors of a batch.

        Returns:
            ``input_ids`` (B, T) int64; ``labels`` (B, T) int64, -100 where nothing is to be predicted;
            ``attention_mask`` (B, T) int64, only when a position is padding; ``document_ids`` (B, T) int64,
            the number of the document within its row and -1 at padding, only for packed batches.
        """
        tokens, lengths = self.shards.gather(batch.draws % len(self.shards))
        inputs, labels = self.mask(tokens, lengths, batch.draws, batch.epoch)
        row_lengths = np.bincount(batch.rows, weights=lengths, minlength=batch.num_rows).astype(np.int64)
        width = self.max_length if batch.packed else int(row_lengths.max())
        width = next((wide for wide in self.widths if self._fits(width, wide)), width)
        real = np.arange(width) < row_lengths[:, None]
        columns = {"input_ids": (inputs, self._pad), "labels": (labels, IGNORED)}
        if batch.packed:
            first = np.searchsorted(batch.rows, batch.rows)
            columns["document_ids"] = (np.repeat(np.arange(len(lengths)) - first, lengths), -1)
        result: dict[str, torch.Tensor] = {}
        for name, (values, filler) in columns.items():
            table = np.full(real.shape, filler, dtype=np.int64)
            table[real] = values
            result[name] = torch.from_numpy(table)
        if not real.all():
            result["attention_mask"] = torch.from_numpy(real.astype(np.int64))
        return result

    def _fits(self, width: int, wide: int) -> bool:
        """Whether rows are padded to a width: with room to spare, unless it is the greatest length."""
        return width < wide or width == wide == self.max_length

    def mask(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int32], draws: NDArray[np.int64], epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (input ids, labels) of concatenated documents.

        Args:
            tokens: (sum of lengths,) token ids.
            lengths: (n,) number of tokens of each document, all above 0.
            draws: (n,) the documents, as in ``PlannedBatch``.
            epoch: the epoch.
        """
        starts = np.cumsum(lengths) - lengths
        positions = np.arange(len(tokens)) - np.repeat(starts, lengths)
        keys = np.repeat(combine(combine(combine(self.seed, _MASKS), epoch), draws), lengths)
        fates = splitmix64(keys ^ positions.astype(np.uint64))
        if self._starts_word is None:
            chances = uniform(fates)
        else:
            # a special token is a word of its own, so that no word extends across it
            begins = self._starts_word[tokens] | self._special[tokens]
            words = np.cumsum(begins) + 0
            words -= np.repeat(words[starts], lengths)
            chances = uniform(splitmix64(keys ^ words.astype(np.uint64)))
        chances[self._special[tokens]] = np.inf
        least = np.minimum.reduceat(chances, starts)
        chosen = chances < np.repeat(np.maximum(self.mlm_probability, np.nextafter(least, np.inf)), lengths)
        chosen &= chances < 1  # special tokens are not chosen even where a document has no others

        where = np.flatnonzero(chosen)
        labels = np.full(len(tokens), IGNORED, dtype=np.int64)
        labels[where] = tokens[where]
        second = splitmix64(splitmix64(fates[where]))
        action = uniform(second)
        replacement = self._ordinary[(splitmix64(second) % np.uint64(len(self._ordinary))).astype(np.int64)]
        inputs = tokens.copy()
        inputs[where] = np.where(
            action < self.mask_rate,
            self._mask,
            np.where(action < self.mask_rate + self.random_rate, replacement, tokens[where]),
        )
        return inputs, labels


def _word_starts(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.bool_]:
    """Return for each token whether it begins a word: (vocabulary,) bool."""
    named = tokenizer.convert_ids_to_tokens(list(range(num_token_ids(tokenizer))))
    pieces = [piece or "" for piece in named]  # an id without a token
    if any(piece.startswith(_CONTINUED) for piece in pieces):
        return np.array([not piece.startswith(_CONTINUED) for piece in pieces])
    starts = np.array([piece.startswith(_WORD_STARTS) for piece in pieces])
    if not starts.any():
        raise DataError(
            "The tokenizer does not mark where words begin (no piece starts with '\u2581', '\u0120' or "
            "'##'), so whole words cannot be masked; use the policy 'token'."
        )
    return starts
