import json

import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.rows import open_rows


@pytest.fixture
def collection(tmp_path):
    (tmp_path / "qrels").mkdir()
    documents = [{"_id": f"d{n}", "title": "Uno" if n == 1 else "", "text": f"text {n}"} for n in range(3)]
    queries = [{"_id": f"q{n}", "text": f"query {n}"} for n in range(3)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    header = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels" / "train.tsv").write_text(header + "q0\td1\t1\nq1\td2\t2\nq1\td0\t0\n")
    (tmp_path / "qrels" / "test.tsv").write_text(header + "q2\td0\t1\n")
    return tmp_path


def test_documents_that_answer_a_query_are_its_matches(collection):
    rows = list(open_rows(str(collection), "qa").rows())
    assert [(row.split, row.row["query"], row.row["document"]) for row in rows] == [
        ("test", "query 2", "text 0"),
        ("train", "query 0", "Uno text 1"),
        ("train", "query 1", "text 2"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q0\td9\t1", "dev.tsv:2: names 'd9', which is not in corpus.jsonl"),
        ("q9\td0\t1", "dev.tsv:2: names 'q9', which is not in queries.jsonl"),
        ("q0\td0\tyes", "dev.tsv:2: the score is 'yes', but must be a whole number"),
    ],
)
def test_judgements_that_point_nowhere_are_errors(row, message, collection):
    (collection / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{row}\n")
    with pytest.raises(DataError, match=message):
        list(open_rows(str(collection), "qa").rows())


def test_files_of_another_layout_are_errors(collection):
    (collection / "qrels" / "dev.tsv").write_text("query\tcorpus-id\tscore\nq0\td0\t1\n")
    with pytest.raises(DataError, match="has the columns query, corpus-id, score; the first line must name"):
        list(open_rows(str(collection), "qa").rows())
    (collection / "qrels" / "dev.tsv").unlink()
    (collection / "queries.jsonl").write_text('{"number": "q0", "text": "a"}')
    with pytest.raises(DataError, match=r"queries\.jsonl:1: has the columns number, text, but each row"):
        list(open_rows(str(collection), "qa").rows())
