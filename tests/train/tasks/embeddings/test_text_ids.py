from datasets import Dataset, concatenate_datasets

from ultra_train.tasks.embeddings.data import fingerprint
from ultra_train.tasks.embeddings.text_ids import text_ids

ROWS = Dataset.from_dict({"anchor": ["a", "b", "c"], "positive": ["b", "d", "c"], "score": [1.0, 0.5, 0.0]})


def test_equal_texts_have_equal_numbers_in_all_columns_and_parts():
    several = concatenate_datasets([ROWS, ROWS.select([2, 0])])
    texts = [["a", "b"], ["b", "d"], ["c", "c"], ["c", "c"], ["a", "b"]]
    ids = text_ids(several, ("anchor", "positive"))
    assert ids.shape == (5, 2)
    by_text = {}
    for row, numbers in zip(texts, ids.tolist(), strict=True):
        for text, number in zip(row, numbers, strict=True):
            assert by_text.setdefault(text, number) == number
    assert len(set(by_text.values())) == 4


def test_chosen_rows_keep_their_numbers_and_nothing_is_printed(capfd):
    chosen = text_ids(ROWS.select([2, 0]), ("anchor", "positive"))
    assert chosen.tolist() == text_ids(ROWS, ("anchor", "positive"))[[2, 0]].tolist()
    assert capfd.readouterr().err == ""


def test_the_fingerprint_is_of_the_content():
    same = concatenate_datasets([ROWS.select([0]), ROWS.select([1, 2])])
    assert fingerprint(same) == fingerprint(ROWS)
    assert fingerprint(ROWS.select([1, 0, 2])) != fingerprint(ROWS)
    assert fingerprint(ROWS.rename_column("anchor", "query")) != fingerprint(ROWS)
