from __future__ import annotations

import numpy as np
import pytest

from ultra_train.tasks.mlm.guesses import sentence_with_a_blank
from ultra_train.tasks.mlm.training import _compared_with_baseline


class Texts:
    """Documents and tokenizer in one: a document is its number."""

    mask_token = "<mask>"

    def __init__(self, *texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def document(self, index):
        return np.array([index])

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return self.texts[ids[0]]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["Sí.", "Slå på lyset i kjøkkenet."], "Slå på <mask> i kjøkkenet."),
        (["uno dos", "¿Quién abrió, (ayer) la puerta?"], "¿Quién abrió, (<mask>) la puerta?"),
        (["a b\nc d e", "so it's over, then"], "so it's <mask>, then"),
        (["one two"], "one <mask>"),
        ([" ".join("abcdefghijklmnop")], "a b c d e f <mask> h i j k l"),
        (["...", ""], None),
    ],
)
def test_the_sentence_is_one_of_the_texts(texts, expected):
    found = Texts(*texts)
    assert sentence_with_a_blank(found, found) == expected


@pytest.mark.parametrize(
    ("accuracy", "baseline", "expected"),
    [
        (0.3, 0.1, ", the model 3.0 times as many"),
        (0.101, 0.1, "; the model is no better than that yet"),
        (0.05, 0.1, "; the model is worse than that, it has learned nothing of use yet"),
        (0.3, 0.0, ""),
        (0.0, 0.0, "; the model is no better than that yet"),
    ],
)
def test_what_chance_would_do_is_said_in_words(accuracy, baseline, expected):
    assert _compared_with_baseline(accuracy, baseline) == expected
