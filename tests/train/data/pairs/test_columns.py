import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.columns import ColumnFinder
from ultra_train.data.pairs.kinds import KINDS

USUAL = [
    ("paired_similarity", ["sentence1", "sentence2", "score"], "sentence1 sentence2 score"),
    ("paired_similarity", ["Text_A", "text_b", "label", "id"], "Text_A text_b label"),
    ("paired_similarity", ["a", "b", "similarity_score"], "a b similarity_score"),
    ("pairs", ["anchor", "positive"], "anchor positive"),
    ("pairs", ["question", "answers", "context"], "question context"),
    ("triplets", ["anchor", "positive", "negative"], "anchor positive negative"),
    ("triplets", ["premise", "entailment", "contradiction"], "premise entailment contradiction"),
    (
        "triplets",
        ["query", "pos", "negative_2", "negative_10", "negative_1"],
        "query pos negative_1 negative_2 negative_10",
    ),
    ("nli", ["premise", "hypothesis", "label", "idx"], "premise hypothesis label"),
    ("qa", ["query", "passage"], "query passage"),
    ("qa", ["question", "answer", "hard_negative"], "question answer hard_negative"),
]


@pytest.mark.parametrize(("kind", "found", "expected"), USUAL)
def test_columns_are_found_by_their_usual_names(kind, found, expected):
    columns = ColumnFinder(KINDS[kind]).find("data", found)
    theirs = [name for _, name in columns.texts] + ([columns.target[1]] if columns.target else [])
    assert theirs == expected.split()
    assert columns.canonical[: len(KINDS[kind].columns)] == KINDS[kind].columns


def test_negatives_are_numbered_in_their_order():
    columns = ColumnFinder(KINDS["triplets"]).find("data", ["query", "pos", "neg1", "neg2"])
    assert columns.texts[2:] == (("negative", "neg1"), ("negative_2", "neg2"))


def test_given_columns_win_and_may_be_called_by_a_usual_name():
    finder = ColumnFinder(KINDS["qa"], {"anchor": "title", "document": "body", "score": "relevance"})
    columns = finder.find("data", ["query", "title", "body", "relevance"])
    assert columns.texts == (("query", "title"), ("document", "body"))
    assert columns.target == ("score", "relevance")


def test_a_score_that_a_kind_does_not_need_is_not_read():
    columns = ColumnFinder(KINDS["qa"]).find("data", ["query", "passage", "score"])
    assert (columns.target, columns.unused_target) == (None, "score")


@pytest.mark.parametrize(
    ("kind", "given", "found", "message"),
    [
        (
            "pairs",
            {},
            ["anchor", "txt"],
            "no column for 'positive' of pairs .*its columns are 'anchor', 'txt'",
        ),
        ("pairs", {}, ["anchor", "txt"], r"Name the column with columns: \{positive: ...\}"),
        ("pairs", {}, ["anchor", "postive"], "Did you mean 'postive'"),
        ("triplets", {}, ["sentence1", "sentence2", "score"], "Its columns are those of paired_similarity"),
        ("pairs", {}, ["sentence1", "sentence2", "score"], "every row is taken as a match"),
        ("qa", {"query": "quesion"}, ["question", "answer"], "no column 'quesion'.*Did you mean 'question'"),
        (
            "nli",
            {"premis": "p"},
            ["p", "h"],
            "nli has no column 'premis'; it has sentence1, sentence2, label",
        ),
        ("pairs", {"anchor": "a", "query": "b"}, ["a", "b"], "the same column of pairs twice"),
    ],
)
def test_what_is_missing_is_said_with_what_there_is(kind, given, found, message):
    with pytest.raises(DataError, match=message):
        ColumnFinder(KINDS[kind], given).find("data.jsonl:1", found)


def test_pairs_with_a_score_are_read_where_the_columns_are_named():
    finder = ColumnFinder(KINDS["pairs"], {"anchor": "sentence1", "positive": "sentence2"})
    assert finder.find("data", ["sentence1", "sentence2", "score"]).unused_target == "score"
