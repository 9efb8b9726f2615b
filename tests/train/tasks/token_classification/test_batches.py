"""From the tags of words to those of pieces."""

from ultra_train.tasks.token_classification.batches import tags_of_pieces

PIECES = [None, 0, 1, 1, 2, 2, None]
TAGS = ["O", "B-room", "I-room"]


def test_the_first_piece_has_the_tag_of_its_word():
    assert tags_of_pieces(PIECES, TAGS, first_only=True) == [None, "O", "B-room", None, "I-room", None, None]


def test_no_entity_begins_inside_a_word():
    found = tags_of_pieces(PIECES, TAGS, first_only=False)
    assert found == [None, "O", "B-room", "I-room", "I-room", "I-room", None]
