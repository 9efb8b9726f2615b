"""How texts become documents: cut at a greatest length, with an overlap, or joined to one length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ultra_train.data.token_cache.joining import Joiner, Joining
from ultra_train.data.token_cache.text_encoder import TextEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@attrs.frozen(kw_only=True)
class Cutting:
    """How texts become documents.

    Attributes:
        max_length: greatest number of tokens in a document, special tokens included.
        overlap: number of tokens that the parts of a text that is longer than that have in common.
        join_length: number of tokens in a document into which texts are joined; 0 joins none.
        join_shortest: number of tokens of text that the last joined document must have to be kept.
    """

    max_length: int
    overlap: int = 0
    join_length: int = 0
    join_shortest: int = 128

    def encoder(self, tokenizer: PreTrainedTokenizerBase) -> TextEncoder:
        """Return what tokenises texts and, unless they are joined, cuts them.

        Raises:
            DataError: a length leaves no room for text.
        """
        if self.join_length:
            return TextEncoder(tokenizer, self.join_length, uncut=True)
        return TextEncoder(tokenizer, self.max_length, overlap=self.overlap)

    def joiner(self, encoder: TextEncoder, *, eval_fraction: float, seed: int) -> Joiner | None:
        """Return what joins the texts, or None.

        Args:
            encoder: the encoder of the texts.
            eval_fraction: share of the texts that is held out.
            seed: seed of the choice of these texts.
        """
        if not self.join_length:
            return None
        joining = Joining(self.join_length, self.join_shortest, eval_fraction, seed)
        return Joiner(joining, encoder.prefix, encoder.suffix)

    def about(self, *, eval_fraction: float, seed: int) -> dict[str, Any]:
        """Return what the documents depend on; values that change nothing are left out."""
        about: dict[str, Any] = {"max_length": self.max_length}
        if self.join_length:
            joined = {"length": self.join_length, "shortest": self.join_shortest}
            return {**about, "joined": {**joined, "eval_fraction": eval_fraction, "seed": seed}}
        return {**about, "overlap": self.overlap} if self.overlap else about
