import json

import pytest

from ultra_train.data.errors import DataError
from ultra_train.search.documents import DocumentSource
from ultra_train.search.survey import survey


def source(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DocumentSource(source=str(path))


def test_empty_documents_and_repeated_contents_are_left_out_and_counted(tmp_path):
    rows = [{"text": "a"}, {"text": " "}, {"text": "b"}, {"text": "a"}, {"text": None}]
    found = survey(source(tmp_path / "rows.jsonl", rows))
    assert (found.documents, found.empty, found.repeated) == (2, 2, 1)
    assert [document.text for document in found.read()] == ["a", "b"]


def test_an_id_that_occurs_twice_is_an_error_that_names_both_places(tmp_path):
    rows = [{"id": "x", "text": "a"}, {"id": "y", "text": "b"}, {"id": "x", "text": "c"}]
    with pytest.raises(DataError, match=r"rows.jsonl:3: the id 'x' is that of another .* at .*rows.jsonl:1"):
        survey(source(tmp_path / "rows.jsonl", rows))


def test_documents_that_are_all_empty_are_an_error(tmp_path):
    with pytest.raises(DataError, match="has no documents; every one of them is empty"):
        survey(source(tmp_path / "rows.jsonl", [{"id": "x", "text": ""}]))
