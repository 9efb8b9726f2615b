"""Pieces find their words by their characters, whatever the tokenizer does with blanks."""

import pytest

from ultra_train.tasks.labelled.words import encode_words, words_of_pieces
from ultra_train.twins.tokenizer import train_family_tokenizer

WORDS = ["abre", "la", "puerta"]


def test_a_piece_may_begin_with_a_blank_or_be_one():
    offsets = [(0, 0), (0, 2), (2, 4), (4, 5), (4, 7), (8, 14), (0, 0)]
    assert words_of_pieces(WORDS, offsets) == [None, 0, 0, None, 1, 2, None]


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_pieces_are_those_of_the_text(family, tmp_path):
    tokenizer = train_family_tokenizer(family, ["abre la puerta", "cierra la ventana del garaje"], tmp_path)
    (encoded, (words,)) = encode_words(tokenizer, [WORDS], 32)
    assert encoded["input_ids"][0] == tokenizer(" ".join(WORDS))["input_ids"]
    assert sorted({word for word in words if word is not None}) == [0, 1, 2]
