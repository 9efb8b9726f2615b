from __future__ import annotations

import numpy as np
import pytest

from ultra_train.tasks.mlm import guesses
from ultra_train.tasks.mlm.fill_mask import Guess
from ultra_train.tasks.mlm.guesses import guesses_table, sentence_with_a_blank


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


def test_guesses_of_0_percent_are_left_out(monkeypatch):
    likely = {"<mask>": [Guess("luz", 0.5), Guess("voz", 0.004)], "a <mask>": [Guess("luz", 0.004)]}
    monkeypatch.setattr(guesses, "guesses", lambda model, tokenizer, text, top_k: [likely[text]])
    table = guesses_table(None, Texts(), ("[MASK]", "a [MASK]"))
    assert [list(column.cells) for column in table.columns] == [["[bold]\\[luz][/bold]"], ["luz 50%"]]
    assert "no token a probability of 0.5%" in guesses_table(None, Texts(), ("a [MASK]",))
