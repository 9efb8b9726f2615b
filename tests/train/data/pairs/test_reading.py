import csv
import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs import reading
from ultra_train.data.pairs.identity import pairs_fingerprint
from ultra_train.data.pairs.reading import PairSource, read_pairs, read_splits

ROWS = [{"text_a": f"uno {n}", "text_b": f'dos, "{n}"\ttres', "score": n / 10} for n in range(11)]


@pytest.fixture
def read(tmp_path):
    """Read the splits of a source; what was said is in ``read.said``."""

    def read(source, kind="paired_similarity", **options):
        read.said = []
        described = PairSource(source=str(source), kind=kind, **options)
        return read_splits(described, cache_dir=tmp_path / "cache", notify=read.said.append)

    return read


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def table(rows, delimiter):
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


FORMATS = {
    "pairs.jsonl": lines,
    "lines.json": lines,
    "array.json": lambda rows: b"\xef\xbb\xbf " + json.dumps(rows, indent=1).encode(),
    "pairs.csv": lambda rows: table(rows, ","),
    "pairs.tsv": lambda rows: table(rows, "\t"),
    "pairs.parquet": parquet,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_rows(name, packed, tmp_path, read):
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(FORMATS[name](ROWS)) if packed else FORMATS[name](ROWS))
    found = read(path)
    assert list(found) == ["train"]
    assert found["train"].column_names == ["sentence1", "sentence2", "score"]
    expected = [{"sentence1": r["text_a"], "sentence2": r["text_b"], "score": r["score"]} for r in ROWS]
    assert found["train"].to_list() == expected
    assert pairs_fingerprint(found["train"]) == "63a11ddff351e77c"


def test_splits_are_those_of_the_files_of_the_column_or_of_the_ratio(tmp_path, read):
    (tmp_path / "data").mkdir()
    for name, rows in (
        ("train-1.jsonl", ROWS[:6]),
        ("train-2.jsonl", ROWS[6:8]),
        ("validation.jsonl", ROWS[8:]),
    ):
        (tmp_path / "data" / name).write_bytes(lines(rows))
    found = read(tmp_path / "data", split_ratio=0.5)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 8, "dev": 3}
    assert read.said == [f"{tmp_path}/data: split_ratio has no effect, since the data have train, dev"]

    column = [{**row, "split": "test" if n > 7 else "train"} for n, row in enumerate(ROWS)]
    (tmp_path / "column.jsonl").write_bytes(lines(column))
    assert {s: len(r) for s, r in read(tmp_path / "column.jsonl").items()} == {"train": 8, "test": 3}
    divided = read(tmp_path / "column.jsonl", split_ratio=(0.75, 0.25, 0.0))
    assert {s: len(r) for s, r in divided.items()} == {"train": 6, "dev": 2, "test": 3}

    (tmp_path / "plain.jsonl").write_bytes(lines(ROWS))
    three = read(tmp_path / "plain.jsonl", split_ratio=(0.6, 0.2, 0.2))
    assert sorted(text for rows in three.values() for text in rows["sentence1"]) == sorted(
        row["text_a"] for row in ROWS
    )
    assert read(tmp_path / "plain.jsonl", split_ratio=(0.6, 0.2, 0.2), seed=1)["dev"].to_list() != (
        three["dev"].to_list()
    )
    (tmp_path / "held-out").mkdir()
    (tmp_path / "held-out" / "test.jsonl").write_bytes(lines(ROWS))
    assert len(read(tmp_path / "held-out" / "test.jsonl")["train"]) == 11
    with pytest.raises(DataError, match="has only rows of test, none to train on"):
        read(tmp_path / "held-out")


def test_rows_are_read_again_only_when_something_changed(tmp_path, read, monkeypatch):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([*ROWS, {"text_a": "", "text_b": "b", "score": 1}]))
    first = read(path)["train"]
    assert read.said == [f"{path}: rows left out: 1 empty text, the first at {path}:12"]
    built = []
    build = reading._build
    monkeypatch.setattr(reading, "_build", lambda *args: built.append(1) or build(*args))
    assert pairs_fingerprint(read(path)["train"]) == pairs_fingerprint(first)
    assert (built, len(read.said)) == ([], 1)
    read(path, score_range=(0, 1))
    assert len(built) == 1
    os.utime(path, ns=(1, 1))
    assert pairs_fingerprint(read(path)["train"]) == pairs_fingerprint(first)
    assert len(built) == 2
    path.write_bytes(lines(ROWS[:5]))
    assert pairs_fingerprint(read(path)["train"]) != pairs_fingerprint(first)


def test_damaged_rows_are_set_aside_and_read_again(tmp_path, read):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines(ROWS))
    read(path)
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "train.arrow").write_bytes(b"")
    assert len(read(path)["train"]) == 11
    assert "is damaged; it was renamed" in read.said[0]
    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == [
        folder.name,
        f"{folder.name}.aside-1",
    ]


def test_an_error_leaves_nothing(tmp_path, read):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines(ROWS) + b"\n{")
    with pytest.raises(DataError, match=r"pairs.jsonl:12: is not JSON"):
        read(path)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"[1, 2]", "a.jsonl:1: holds a JSON list, but every line must be an object"),
        ("a.jsonl", b'{"sentence1": "x"}', "a.jsonl:1: has no column for 'sentence2'"),
        ("a.json", b'[{"a": "x"}, 3]', "a.json: item 1: has no column|item 2: is a JSON int"),
        ("a.json", b'[{"a": "x", "b": "y", "score": 1} {"a": 1}]', "after item 1 stands '{', not ','"),
        ("a.json", b'[{"a": "x", "b": "y", "score": 1},', "a.json: item 2: is not JSON"),
        ("a.json", b'[{"a": "x", "b": "y", "score": 1}] 7', "there is text after the end of the array"),
        ("a.json.gz", gzip.compress(b"[" + b" " * 99, mtime=0)[:-9], "compressed file is broken or cut"),
        ("a.csv", b"a,a,score\nx,y,1", "has 2 columns 'a'"),
        ("a.csv", b"a,b,score\nx,y", "a.csv:2: has 2 fields, but the header has 3"),
        ("a.parquet", b"PAR1", "is not a whole Parquet file"),
        ("a.parquet.gz", b"\x1f\x8b", "broken or cut short"),
        ("a.txt", b"x", "the name must end in one of"),
        ("a.jsonl", b"", "is an empty file"),
        ("a.jsonl", b"\n\n", "has no rows"),
    ],
)
def test_broken_files_are_errors_that_name_the_place(name, content, message, tmp_path, read):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_one_split_is_read_and_rows_are_chosen_evenly(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([{"query": f"q{n}", "answer": f"a{n}", "score": n} for n in range(100)]))
    said = []
    options = {"cache_dir": tmp_path / "cache", "notify": said.append}
    some = read_pairs(str(path), "qa", max_rows=20, **options)
    assert len(some) == 20
    numbers = [int(text[1:]) for text in some["query"]]
    assert numbers == sorted(numbers)
    assert max(numbers) > 50
    assert said == [f"{path}: the column 'score' is not read; qa takes every row as a match"]
    again = read_pairs(str(path), "qa", max_rows=20, **options)
    assert pairs_fingerprint(again) == pairs_fingerprint(some)
    assert pairs_fingerprint(read_pairs(str(path), "qa", **options)) != pairs_fingerprint(some)
    scored = read_pairs(str(path), "qa", {"score": "score"}, score_range=(0, 99), **options)
    assert scored.column_names == ["query", "document", "score"]
    assert (min(scored["score"]), max(scored["score"])) == (0, 1)
    raw = read_pairs(str(path), "qa", {"score": "score"}, **options)
    assert max(raw["score"]) == 99
    with pytest.raises(DataError, match=r"has no split dev, only train\. Name files by their split"):
        read_pairs(str(path), "qa", split="dev", **options)
    with pytest.raises(DataError, match=r"there is no kind of pairs 'triplet'.*Did you mean 'triplets'"):
        read_pairs(str(path), "triplet", **options)
