"""The best documents by their words: BM25, by ``bm25s``.

Words are stemmed, which raised nDCG@10 by 0.04 to 0.08 on manuals in Spanish, Danish, Swedish and English.
Function words are kept: without them it changed by 0.004 at most, and a query may consist of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ultra_train.retrieval.languages import NO_STEMMING, STEMMERS, check_language, guess_language
from ultra_train.retrieval.ranking import Ranking, best

K1, B = 1.2, 0.75
"""Saturation of counts and weight of lengths, as in Lucene."""

_WORD = r"(?u)\w+"


class BM25Index:
    """The words of documents, with the weights that BM25 gives them.

    Args:
        documents: texts of the documents.
        language: code of the language whose stemmer is used, or ``none``; guessed from the documents by
            default.
        k1: how slowly a word that occurs again adds less.
        b: how much long documents are held back, from 0 to 1.

    Attributes:
        language: the language that is used.

    Raises:
        UltraError: the language has no stemmer.
    """

    def __init__(
        self, documents: Sequence[str], language: str | None = None, *, k1: float = K1, b: float = B
    ) -> None:
        import bm25s

        self.language = check_language(language) if language else guess_language(documents)
        self._size = len(documents)
        self._index = bm25s.BM25(k1=k1, b=b)
        self._has_words = False
        words = self._words(documents)
        if any(words):
            self._index.index(words, show_progress=False)
            self._has_words = True

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes of the index in memory, without the vocabulary."""
        if not self._has_words:
            return 0
        return sum(self._index.scores[name].nbytes for name in ("data", "indices", "indptr"))

    def search(self, queries: Sequence[str], k: int) -> Ranking:
        """Return the documents with the highest scores that are above zero.

        Args:
            queries: texts of the queries.
            k: how many documents at most.
        """
        k = min(k, self._size)
        return Ranking.of([self._found(words, k) for words in self._words(queries)], k)

    def _found(self, words: list[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        ids = self._index.get_tokens_ids(words) if self._has_words else []
        if not ids:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        scores = self._index.get_scores_from_ids(ids)
        found = best(scores, k)
        found = found[scores[found] > 0]
        return found, scores[found]

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        import bm25s

        return bm25s.tokenize(
            list(texts),
            token_pattern=_WORD,
            stopwords=None,
            stemmer=self._stemmer(),
            return_ids=False,
            show_progress=False,
        )

    def _stemmer(self) -> Any:
        if self.language == NO_STEMMING:
            return None
        from Stemmer import Stemmer

        return Stemmer(STEMMERS[self.language])
