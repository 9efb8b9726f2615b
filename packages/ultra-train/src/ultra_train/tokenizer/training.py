"""Training a SentencePiece tokenizer for masked language models.

The folder of a trained tokenizer holds ``tokenizer.json`` and ``tokenizer_config.json``, which
``AutoTokenizer`` reads, and ``sentencepiece.model``. Both give the same tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ultra_train.tokenizer.files import FILES, refuse_to_overwrite, save
from ultra_train.tokenizer.sentencepiece_model import (
    CLS,
    LONGEST_SENTENCE,
    MASK,
    PAD,
    SEP,
    UNK,
    TokenizerError,
    fit,
    to_fast,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int,
    output_dir: str | Path,
    model_type: Literal["unigram", "bpe"] = "unigram",
    max_length: int = 512,
    lowercase: bool = False,
    character_coverage: float = 0.9999,
    max_texts: int = 2_000_000,
    seed: int = 0,
) -> PreTrainedTokenizerFast:
    """Train a tokenizer, save it, and return it.

    Text is normalised to NFKC, and runs of white space are joined. Characters outside the vocabulary become
    their UTF-8 bytes, so nothing is ever unknown. The special tokens are ``[PAD] [UNK] [CLS] [SEP] [MASK]``
    with ids 0 to 4, and a text becomes ``[CLS] text [SEP]``. The same texts and settings give the same files.

    Args:
        texts: the corpus.
        vocab_size: number of tokens, including the five special tokens and the 256 bytes.
        output_dir: folder that the files are written into, once training has succeeded.
        model_type: ``"unigram"`` (Kudo 2018, arXiv:1804.10959) or ``"bpe"`` (Sennrich et al. 2016,
            arXiv:1508.07909).
        max_length: the tokenizer's ``model_max_length``.
        lowercase: whether to fold case.
        character_coverage: share of the characters of the corpus that get a token of their own.
        max_texts: greatest number of sentences; of more, a random sample is used.
        seed: seed of the sample.

    Raises:
        TokenizerError: there is no usable text, ``vocab_size`` is larger or smaller than the corpus allows,
            or the folder holds another tokenizer.
        OSError: the folder cannot be written.
    """
    refuse_to_overwrite(Path(output_dir) / name for name in FILES)
    sample = sample_sentences(texts, max_texts, seed)
    model = fit(sample, vocab_size, model_type, lowercase, character_coverage)
    tokenizer = fast_tokenizer(model, max_length)
    save(tokenizer, model, Path(output_dir))
    return tokenizer


def fast_tokenizer(model: bytes, max_length: int) -> PreTrainedTokenizerFast:
    """Return a SentencePiece model as a fast Hugging Face tokenizer."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=to_fast(model),
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def sample_sentences(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """Return a uniform sample of at most ``size`` sentences (reservoir sampling).

    Raises:
        TokenizerError: every text is blank.
    """
    chosen: list[str] = []
    draw = random.Random(seed)
    for number, sentence in enumerate(piece for text in texts for piece in _sentences(text)):
        if number < size:
            chosen.append(sentence)
        elif (place := draw.randrange(number + 1)) < size:
            chosen[place] = sentence
    if not chosen:
        raise TokenizerError("The tokenizer's corpus has no usable text; every text of it is blank.")
    return chosen


def _sentences(text: str) -> Iterator[str]:
    """Yield a text in parts that SentencePiece accepts, split at white space where possible."""
    text = text.replace("\0", " ").strip()
    while len(text.encode("utf-8", "replace")) > LONGEST_SENTENCE:
        reach = LONGEST_SENTENCE // 4  # a character has at most four bytes
        cut = max(text.rfind(" ", 1, reach), 0) or reach
        yield text[:cut]
        text = text[cut:].lstrip()
    if text:
        yield text
