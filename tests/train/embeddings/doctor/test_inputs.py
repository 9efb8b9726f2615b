from __future__ import annotations

from types import SimpleNamespace

import pytest

from support.splade import TEXTS, tokenizer
from ultra_train.embeddings.doctor.inputs import lengths, tokens


def network(rows):
    return SimpleNamespace(config=SimpleNamespace(vocab_size=rows))


@pytest.mark.parametrize(
    ("mask", "rows", "texts", "good"),
    [
        ("[MASK]", 60, TEXTS, [True, True]),
        (None, 60, TEXTS, [False, True]),
        ("[MASK]", 59, TEXTS, [False, True]),
        ("[MASK]", 64, ["otra cosa"], [True, False]),
    ],
)
def test_special_and_unknown_tokens(mask, rows, texts, good):
    found = list(tokens(tokenizer(mask), network(rows), texts, mask_needed=True))
    assert [finding.good for finding in found] == good


@pytest.mark.parametrize(
    ("max_length", "readable", "advice"),
    [
        (9, 9, "few texts are cut"),
        (None, None, "never cut"),
        (3, None, "set max_seq_length to 9"),
        (3, 5, "set max_seq_length to 5"),
        (3, 3, "split texts into passages of 3 tokens"),
    ],
)
def test_lengths(max_length, readable, advice):
    texts = ["luz"] * 2 + ["la la la la la la la la la"] * 20
    finding = lengths(tokenizer(), max_length, readable, texts)
    assert advice in finding.advice
    assert finding.good == (advice in ("few texts are cut", "never cut"))
    assert "95th percentile 9 tokens" in finding.value
