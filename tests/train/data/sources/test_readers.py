import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.readers import SUFFIXES, read_file, suffix

ROWS = ["abre la puerta", "cierra la ventana", "¿qué hora es? 🙂"]


def _write(path, rows):
    ending = suffix(path)
    opened = gzip.open if ending.endswith(".gz") else open
    if ending == ".parquet":
        pq.write_table(pa.table({"id": list(range(len(rows))), "text": rows}), path)
        return path
    with opened(path, "wt", encoding="utf-8") as stream:
        if ".jsonl" in ending:
            stream.writelines(json.dumps({"id": 1, "text": row}) + "\n" for row in rows)
        elif ".csv" in ending:
            stream.write("id,text\n" + "".join(f'1,"{row}"\n' for row in rows))
        elif ".tsv" in ending:
            stream.write("id\ttext\n" + "".join(f"1\t{row}\n" for row in rows))
        else:
            stream.write("\n".join(rows))
    return path


@pytest.mark.parametrize("ending", SUFFIXES)
def test_every_format_gives_the_same_texts_without_blank_ones(ending, tmp_path):
    path = _write(tmp_path / f"rows{ending}", [ROWS[0], "", ROWS[1], "  ", ROWS[2]])
    assert list(read_file(path)) == ROWS


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path):
    path = tmp_path / "dos.txt"
    path.write_bytes(b"\xef\xbb\xbfhola\r\nadi\xc3\xb3s\r\n")
    assert list(read_file(path)) == ["hola", "adiós"]


def test_a_quoted_field_may_span_lines(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('text,id\n"dos\nlíneas",1\n', encoding="utf-8")
    assert list(read_file(path)) == ["dos\nlíneas"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_missing_column_names_those_found(ending, tmp_path):
    path = _write(tmp_path / f"rows{ending}", ROWS)
    with pytest.raises(
        DataError, match=re.escape("no column 'txt'; its columns are 'id', 'text'. Did you mean 'text'?")
    ):
        list(read_file(path, "txt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"hola\0mundo", "is a binary file"),
        ("a.txt", b"hola\n" * 3000 + b"x\0y", ":3001: holds a zero byte"),
        ("a.txt", "hola\nadiós".encode("latin1"), r"a.txt:2: is not UTF-8 \(byte 0xf3 at column 4\).*iconv"),
        ("a.txt.gz", b"not gzip", "compressed file is broken"),
        (
            "a.txt.gz",
            gzip.compress(b"hola mundo" * 100, mtime=0)[:-20],
            "compressed file is broken or cut short",
        ),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl:2: is not JSON"),
        ("a.jsonl", b'["a"]\n', "a.jsonl:1: holds a JSON list"),
        ("a.jsonl", b'{"text": 3}\n', "a.jsonl:1: column 'text' holds int"),
        ("a.csv", b"id,text\n1\n", "a.csv:2: has 1 fields, but the header has 2"),
        ("a.csv", b'id,text\n1,"abc\n', "is not a valid table"),
        ("a.parquet", b"PAR1 nonsense", "is not a whole Parquet file"),
    ],
)
def test_faults_say_where_they_are(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_file(path))


def test_nulls_are_left_out(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "b"]}), path)
    assert list(read_file(path)) == ["a", "b"]
