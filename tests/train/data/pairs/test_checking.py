import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.checking import BLANK, SAME, UNLABELLED, PairChecker
from ultra_train.data.pairs.kinds import KINDS


def checked(kind, rows, **options):
    checker = PairChecker("data", KINDS[kind], **options)
    found = [row for number, row in enumerate(rows, 1) for row in checker.check(f"data:{number}", row, None)]
    return checker, found


def test_rows_without_use_are_dropped_and_counted():
    rows = [
        {"anchor": "a", "positive": "b", "negative": "c"},
        {"anchor": "a", "positive": "b", "negative": "b"},
        {"anchor": " ", "positive": "b", "negative": "c"},
        {"anchor": "a", "positive": None, "negative": "c"},
        {"anchor": "d", "positive": "e", "negative": "f"},
    ]
    checker, found = checked("triplets", rows)
    assert [row.texts for row in found] == [("a", "b", "c"), ("d", "e", "f")]
    assert checker.dropped == {SAME: 1, BLANK: 2}
    assert "2 empty text, the first at data:3" in checker.reasons()
    with pytest.raises(DataError, match="3 of 5 rows cannot be used"):
        checker.finish()


def test_a_data_set_without_rows_is_an_error():
    with pytest.raises(DataError, match="data: has no rows"):
        checked("pairs", [])[0].finish()


def test_every_positive_of_a_list_is_a_row_and_of_negatives_the_first_counts():
    rows = [{"query": "q", "pos": ["a", "b"], "neg": ["x", "y"]}, {"query": "q", "pos": [], "neg": ["x"]}]
    checker, found = checked("triplets", rows)
    assert [row.texts for row in found] == [("q", "a", "x"), ("q", "b", "x")]
    assert checker.dropped == {BLANK: 1}


@pytest.mark.parametrize(
    ("label", "names", "number"),
    [
        ("entailment", None, 0),
        ("Neutral", None, 1),
        ("c", None, 2),
        (0, None, 0),
        ("2", None, 2),
        (1.0, None, 1),
        (0, ["contradiction", "entailment", "neutral"], 2),
    ],
)
def test_labels_are_names_or_numbers(label, names, number):
    row = {"premise": "a", "hypothesis": "b", "label": label}
    _, (found,) = checked("nli", [row], labels={"label": names} if names else None)
    assert found.target == number


def test_unlabelled_rows_are_dropped():
    rows = [{"premise": "a", "hypothesis": "b", "label": label} for label in (-1, "-", None, 0)]
    checker, found = checked("nli", rows)
    assert len(found) == 1
    assert checker.dropped == {UNLABELLED: 3}


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (
            "pairs",
            {"anchor": "a", "positive": 3},
            "data:1: column 'positive' holds int, but a text is needed",
        ),
        ("pairs", {"anchor": "a", "positive": "\ud800"}, "half a surrogate pair"),
        ("paired_similarity", {"a": "x", "b": "y", "score": "high"}, "holds 'high', but a score must be"),
        ("paired_similarity", {"a": "x", "b": "y", "score": float("nan")}, "must be a finite number"),
        ("paired_similarity", {"a": "x", "b": "y", "score": True}, "must be a finite number"),
        (
            "nli",
            {"premise": "x", "hypothesis": "y", "label": "maybe"},
            "'maybe', but a label of nli is one of",
        ),
        ("nli", {"premise": "x", "hypothesis": "y", "label": 7}, "holds 7, but a label"),
    ],
)
def test_a_value_of_another_kind_is_an_error_with_its_place(kind, row, message):
    with pytest.raises(DataError, match=message):
        checked(kind, [row])


def test_rows_of_another_layout_are_an_error():
    rows = [{"anchor": "a", "positive": "b", "negative": "c"}, {"anchor": "a", "positive": "b", "neg1": "c"}]
    assert len(checked("triplets", rows)[1]) == 2
    rows[1]["neg2"] = "d"
    with pytest.raises(DataError, match="data:2: gives the columns anchor, positive, negative, negative_2"):
        checked("triplets", rows)
