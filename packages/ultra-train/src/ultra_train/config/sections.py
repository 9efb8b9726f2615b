"""The sections ``tokenizer`` and ``meta``."""

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
    lowercase: bool = key(False, "convert texts to lower case")
    character_coverage: Fraction = key(
        0.9999, "share of the characters that get a piece of their own; the rest is spelled in bytes"
    )
    max_texts: Count = key(2_000_000, "maximum number of texts to read")
    data: Dataset | None = key(None, "texts to train on; by default those of the run")


@attrs.frozen(kw_only=True)
class TokenizerConfig:
    """An existing tokenizer, or how to train one."""

    name_or_path: str | None = key(None, "hub id or folder; with train, the folder to write")
    use_fast: bool = key(True, "use the fast implementation")
    trust_remote_code: bool = key(False, "run code that comes with the tokenizer")
    train: TokenizerTraining | None = key(None, "settings of a tokenizer to train if there is none")


@attrs.frozen(kw_only=True)
class Meta:
    """What ``list presets`` shows and filters by; no effect on a run."""

    summary: str = key("", "description in one line")
    vram: Vram | None = key(None, "GPU memory that it needs")
    stability: Stability | None = key(None, "stability on a Tesla P40")
    papers: tuple[str, ...] = key((), "papers behind its parts")
    guides: tuple[Guide, ...] = key((), "guides that recommend it")
