import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.search.documents import Document, DocumentSource


def read(path, **columns):
    return [(d.id, d.title, d.text) for d in DocumentSource(source=str(path), **columns).documents()]


def write_json(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet"])
def test_tables_have_a_document_in_each_row(ending, tmp_path):
    rows = [{"id": "7", "title": "Luz", "text": "enciende la luz"}, {"id": "8", "title": "", "text": "hola"}]
    path = tmp_path / f"rows{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif "jsonl" in ending:
        write_json(path, rows)
    else:
        delimiter = "," if ending == ".csv" else "\t"
        path.write_text("".join(delimiter.join(row) + "\n" for row in [rows[0], *(r.values() for r in rows)]))
    assert read(path) == [("7", "Luz", "enciende la luz"), ("8", "", "hola")]


def test_named_columns_are_used_and_numbers_may_be_ids(tmp_path):
    path = write_json(tmp_path / "rows.jsonl", [{"n": 3, "name": "A", "body": "b", "title": "no"}])
    assert read(path, id_column="n", text_column="body", title_column="name") == [("3", "A", "b")]


def test_of_a_folder_in_the_layout_of_beir_only_the_corpus_is_read(tmp_path):
    write_json(tmp_path / "corpus.jsonl", [{"_id": "d1", "title": "T", "text": "x", "metadata": {}}])
    write_json(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "y"}])
    assert read(tmp_path) == [("d1", "T", "x")]


def test_a_text_file_of_a_folder_is_a_document_and_alone_its_lines_are(tmp_path):
    (tmp_path / "notes").mkdir()
    note = tmp_path / "notes" / "a.txt"
    note.write_text("uno\n\ndos\n")
    assert read(tmp_path) == [("notes/a.txt", "", "uno\n\ndos")]
    lines = read(note)
    assert [text for _, _, text in lines] == ["uno", "", "dos"]
    assert len({name for name, _, _ in lines}) == 3


def test_without_ids_the_content_is_the_id(tmp_path):
    one, two = read(write_json(tmp_path / "rows.jsonl", [{"text": "uno"}, {"text": "dos"}]))
    assert one[0] == Document("", "", "uno").content != two[0]


def test_the_title_is_searched_too():
    assert Document("1", "Luz", "encendida").searched == "Luz encendida"
    assert Document("1", "Luz", "encendida").content != Document("1", "", "Luz encendida").content


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "txt": "a"}, r"rows.jsonl:1: has no column 'text'; its columns are 'id', 'txt'"),
        ({"id": 1, "text": ["a"]}, "column 'text' holds list, but a text is needed"),
        ({"id": None, "text": "a"}, "column 'id' is empty, but every document needs an id"),
        ({"id": "x" * 600, "text": "a"}, "is longer than 512 bytes"),
    ],
)
def test_bad_rows_are_named(row, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(write_json(tmp_path / "rows.jsonl", [row]))


def test_half_a_surrogate_pair_is_no_text(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a \\ud83d b"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:1: holds half a surrogate pair at character 3"):
        read(tmp_path / "rows.jsonl")


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        read(tmp_path / "missing")
    with pytest.raises(DataError, match="documents are read from local files"):
        read("some/dataset")
