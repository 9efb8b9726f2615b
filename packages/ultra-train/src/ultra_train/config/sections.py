"""The small sections: ``tokenizer`` and ``meta``."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.data import Dataset
from ultra_train.config.keys import Count, Fraction, key

Guide = Literal["best_first_run", "lowest_vram", "fastest_sbert", "optimizer_benchmark"]
Vram = Literal["low", "low-medium", "medium", "medium-high", "high"]
Stability = Literal["p40_safe", "p40_experimental"]


@attrs.frozen(kw_only=True)
class TokenizerTraining:
    """How a SentencePiece tokenizer is trained when the run finds none."""

    vocab_size: Count = key(help="pieces, special tokens and bytes included")
    model_type: Literal["unigram", "bpe"] = key("unigram", "SentencePiece algorithm")
    lowercase: bool = key(False, "fold case")
    character_coverage: Fraction = key(
        0.9999, "share of the characters that get their own piece; the rest is bytes"
    )
    max_texts: Count = key(2_000_000, "most texts that are read for it")
    data: Dataset | None = key(None, "texts to train on; the run's own data when left out")


@attrs.frozen(kw_only=True)
class TokenizerConfig:
    """An existing tokenizer, or how to train one."""

    name_or_path: str | None = key(None, "hub id or folder; with train, the folder to write")
    use_fast: bool = key(True, "the fast implementation")
    trust_remote_code: bool = key(False, "run code that comes with the tokenizer")
    train: TokenizerTraining | None = key(None, "train one when none is there")


@attrs.frozen(kw_only=True)
class Meta:
    """What ``list presets`` shows and filters by; no effect on a run."""

    summary: str = key("", "one line")
    vram: Vram | None = key(None, "GPU memory that it takes")
    stability: Stability | None = key(None, "how it behaves on a Tesla P40")
    papers: tuple[str, ...] = key((), "where its parts come from")
    guides: tuple[Guide, ...] = key((), "lists that recommend it")
