"""What a bad row means, and where it is."""

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.readers import read_file
from ultra_train.data.sources.row_checker import NAMED, RowChecker
from ultra_train.data.sources.texts import TextReader


def _parquet(column, **options) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"text": column}), written, **options)
    return written.getvalue()


def _unchecked(values) -> pa.Array:
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def _skipped(path: Path) -> tuple[list[str], RowChecker]:
    checker = RowChecker(str(path), "skip")
    return list(read_file(path, checker=checker)), checker


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "x\\ud800"}\n', r"a.jsonl:2: .*surrogate pair \(U\+D800"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 50_000 + b"\n", "a.jsonl:2: .*nested too deeply"),
        ("a.jsonl", b'{"text": "a", "n": ' + b"7" * 5000 + b"}\n", "a.jsonl:1: .*number that is too long"),
        ("a.csv", b"text\na\0b\n", "a.csv:2: holds a zero byte"),
        ("a.csv", b"text\nhola, mundo\n", 'a.csv:2: has 2 fields, but the header has 1.*"quotes"'),
        ("a.csv", b'text\na\n"b\nc\n', "a.csv:3: is not a valid table .*extends to line 4"),
        ("a.csv", b"\n\nid,body\n", "a.csv:3: has no column 'text'"),
        ("a.csv", b"text,text\na,b\n", "a.csv:1: has 2 columns 'text'"),
        ("a.txt", "hola\n".encode("utf-16"), "a.txt:1: is not UTF-8.*iconv -f utf-16"),
        (
            "a.txt.gz",
            gzip.compress(b"a\nb\n", mtime=0)[:-8],
            "a.txt.gz:3: the compressed file is broken or cut short",
        ),
        ("a.parquet", _parquet(["a"] * 3).replace(b"PAR1", b"RAP1"), "not a whole Parquet"),
        ("a.parquet", _parquet([1]), "column 'text' holds int64"),
        (
            "a.parquet",
            _parquet(_unchecked([b"a", b"b", b"c", b"\xff"]), row_group_size=3),
            "a.parquet: row group 2, row 1: column 'text' is not UTF-8",
        ),
    ],
)
def test_faults_say_where_they_are(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_file(path))


def test_a_line_that_would_not_fit_into_memory_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("ultra_train.data.sources.lines._LONGEST_LINE", 10)
    path = tmp_path / "a.txt"
    path.write_bytes(b"uno\n" + b"x" * 35 + b"\ndos\n" + b"y" * 20)
    with pytest.raises(DataError, match=r"a.txt:2: is longer than 10 bytes"):
        list(read_file(path))
    texts, checker = _skipped(path)
    assert texts == ["uno", "dos"]
    assert checker.counts.bad == 2


def test_only_the_bad_rows_are_skipped(tmp_path):
    broken = tmp_path / "a.csv"
    broken.write_bytes(b'text,id\nuno,1\n"dos\nlin\xe9as",2\ntres,3\n"x"y,4\ncinco,5\na,b,6\nseis,6\n')
    texts, checker = _skipped(broken)
    assert texts == ["uno", "tres", "cinco", "seis"]
    assert checker.counts.bad == 3
    assert [fault.split(": ")[0].rpartition(":")[2] for fault in checker.counts.faults] == ["4", "6", "8"]
    groups = tmp_path / "a.parquet"
    groups.write_bytes(_parquet(_unchecked([b"a", b"\xff", b"c", b"d"]), row_group_size=2))
    texts, checker = _skipped(groups)
    assert texts == ["a", "c", "d"]


def test_other_row_groups_are_read_when_one_is_damaged(tmp_path):
    path = tmp_path / "a.parquet"
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    content = _parquet(["uno", "dos", "tres"], row_group_size=1, write_page_checksum=True, **options)
    path.write_bytes(content.replace(b"dos", b"des"))
    texts, checker = _skipped(path)
    assert texts == ["uno", "tres"]
    assert checker.counts.unreadable == 1
    assert "row group 2, row 1: the rest of the row group cannot be read" in checker.counts.faults[0]


def test_damage_that_page_checksums_show(tmp_path):
    path = tmp_path / "a.parquet"
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    for checked, expected in ((False, ["uno", "des"]), (True, [])):
        path.write_bytes(
            _parquet(["uno", "dos"], write_page_checksum=checked, **options).replace(b"dos", b"des")
        )
        texts, checker = _skipped(path)
        assert texts == expected
        assert checker.counts.unreadable == checked


def test_only_the_first_faults_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("no\n" * 100 + '{"text": "uno"}\n', encoding="utf-8")
    texts, checker = _skipped(path)
    assert texts == ["uno"]
    assert (checker.counts.bad, len(checker.counts.faults)) == (100, NAMED)


def test_a_source_of_which_nothing_is_left_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"txt": "uno"}\n{"txt": "dos"}\n', encoding="utf-8")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    expected = r"no usable text; 2 rows and 1 files .* The first: .*a.jsonl:1: has no column 'text'"
    with pytest.raises(DataError, match=expected):
        list(TextReader().texts(str(tmp_path), on_bad_rows="skip"))


def test_many_and_long_columns_are_not_all_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"{'column' * 50}{n}" for n in range(1000)) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="and 980 more") as caught:
        list(read_file(path))
    assert len(str(caught.value)) < 2000


def test_a_file_that_cannot_be_read_on_says_where(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("uno\ndos\n", encoding="utf-8")

    class Failing:
        def __enter__(self):
            return self

        def __exit__(self, *raised):
            return None

        lines = iter([b"uno\n"])

        def readline(self, size):
            line = next(self.lines, None)
            if line is None:
                raise OSError(5, "Input/output error")
            return line

    monkeypatch.setattr("ultra_train.data.sources.lines.open_stream", lambda path: Failing())
    with pytest.raises(DataError, match=r"a.txt:2: cannot be read .*Input/output error"):
        list(read_file(path))
