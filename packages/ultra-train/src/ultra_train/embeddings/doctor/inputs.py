"""Checks of what goes into an encoder: special tokens, unknown words, lengths."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from ultra_core.errors import listed
from ultra_train.embeddings.doctor.findings import Finding
from ultra_train.hf.vocabulary import num_embeddings, num_token_ids

_UNKNOWN = 0.02
_TRUNCATED = 0.05


def tokens(tokenizer: Any, network: Any, texts: Sequence[str], *, mask_needed: bool) -> Iterator[Finding]:
    """Check that a tokenizer has its special tokens, belongs to the model, and knows the words of the texts.

    Args:
        tokenizer: tokenizer of transformers.
        network: model of transformers.
        texts: some texts of the data.
        mask_needed: whether the model is trained as a masked language model.
    """
    wanted = ["pad_token", *(["mask_token"] if mask_needed else [])]
    absent = [name for name in wanted if getattr(tokenizer, name, None) is None]
    ids, rows = num_token_ids(tokenizer), num_embeddings(network)
    if absent:
        value, advice = (
            f"no {listed(absent)}",
            "the tokenizer lacks what training needs; take that of the base model",
        )
    elif ids > rows:
        value = f"{ids:,} ids, {rows:,} embeddings"
        advice = "the tokenizer is not that of this model: its last tokens have no embedding"
    else:
        value, advice = f"{ids:,} ids, {rows:,} embeddings", "the tokenizer fits the model"
    yield Finding("special tokens", value, advice, not absent and ids <= rows)
    if tokenizer.unk_token_id is None:
        return
    found = [id for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for id in ids]
    share = sum(id == tokenizer.unk_token_id for id in found) / max(1, len(found))
    good = share <= _UNKNOWN
    advice = (
        "the tokenizer knows the texts"
        if good
        else "the tokenizer was made for other texts or another script"
    )
    yield Finding("unknown tokens", f"{share:.1%}", advice, good)


def lengths(tokenizer: Any, max_length: int | None, readable: int | None, texts: Sequence[str]) -> Finding:
    """Check how many texts are cut off.

    Args:
        tokenizer: tokenizer of transformers.
        max_length: tokens to which texts are cut.
        readable: tokens that the model can read; None: no limit is known.
        texts: some texts of the data.
    """
    counts = sorted(len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"])
    typical, long = statistics.median(counts), counts[int(0.95 * (len(counts) - 1))]
    seen = f"median {typical:,.0f}, 95th percentile {long:,} tokens"
    if max_length is None:
        return Finding("lengths", f"{seen}; no limit", "texts are never cut")
    cut = sum(count > max_length for count in counts) / len(counts)
    value = f"{seen}; {cut:.1%} cut at {max_length}"
    if cut <= _TRUNCATED:
        return Finding("lengths", value, "few texts are cut")
    room = long if readable is None else min(long, readable)
    if room > max_length:
        return Finding("lengths", value, f"set max_seq_length to {room}, which the model can read", False)
    return Finding("lengths", value, f"split texts into passages of {max_length} tokens", False)
