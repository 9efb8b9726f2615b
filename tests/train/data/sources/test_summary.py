"""Nothing is dropped in silence: what was passed over is counted, kept with the shards, shown and logged."""

import json
import os

import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.sources.files import find_files
from ultra_train.data.sources.row_checker import NAMED, SourceCounts
from ultra_train.data.sources.summary import data_event, table
from ultra_train.data.sources.texts import TextReader
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.manifest import MANIFEST


@pytest.fixture
def folder(tmp_path, texts):
    made = tmp_path / "corpus"
    made.mkdir()
    (made / "a.txt").write_text("\n".join([*texts[:10], "", "  ", texts[0], texts[1], "\u200b"]), "utf-8")
    rows = [{"text": texts[2]}, {"text": None}, {"text": 3}, {"text": texts[-1]}]
    (made / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n", "utf-8")
    (made / "c.parquet").write_bytes(b"PAR1")
    (made / "empty.txt").touch()
    (made / "README.md").write_text("read me")
    (made / "linked").symlink_to(tmp_path, target_is_directory=True)
    return made


EXPECTED = SourceCounts(
    source="",
    files=3,
    empty_files=1,
    other_files=2,
    unreadable=1,
    blank=3,
    bad=2,
    texts=15,
    without_tokens=1,
    repeated=3,
    split=1,
)


def _prepared(spec, tokenizer, tmp_path, **options):
    return prepare(
        read_sources(spec), tokenizer, max_length=32, cache_dir=tmp_path / "cache", eval_fraction=0, **options
    )[0]


def test_everything_that_is_passed_over_is_counted(folder, corpus, tokenizer, texts, tmp_path):
    spec = [str(folder), str(corpus)]
    train = _prepared(spec, tokenizer, tmp_path, on_bad_rows="skip")
    first, second = train.counts
    for name in ("files", "empty_files", "other_files", "unreadable", "blank", "bad", "texts", "split"):
        assert getattr(first, name) == getattr(EXPECTED, name), name
    assert first.without_tokens == EXPECTED.without_tokens
    assert first.repeated == EXPECTED.repeated
    assert first.documents > first.texts - first.without_tokens
    assert [fault.partition(": ")[0] for fault in first.faults] == [
        f"{folder}/b.jsonl:3",
        f"{folder}/b.jsonl:5",
        f"{folder}/c.parquet",
    ]
    assert first.passed_over == [f"{folder}/{name}" for name in ("README.md", "empty.txt", "linked")]
    assert second.texts == len(texts)
    assert second.repeated == 11, "texts of an earlier source count too"
    assert first.documents + second.documents == len(train)
    assert first.tokens + second.tokens == train.num_tokens


def test_the_counts_stay_with_the_shards(folder, tokenizer, tmp_path):
    built = _prepared(str(folder), tokenizer, tmp_path, on_bad_rows="skip")
    again = _prepared(str(folder), tokenizer, tmp_path, on_bad_rows="skip", notify=pytest.fail)
    assert again.counts == built.counts
    assert json.loads((built.directory / MANIFEST).read_text())["counts"][0]["blank"] == EXPECTED.blank


def test_a_build_that_skipped_rows_is_not_taken_when_they_are_errors(folder, tokenizer, tmp_path):
    _prepared(str(folder), tokenizer, tmp_path, on_bad_rows="skip")
    with pytest.raises(DataError, match=r"b.jsonl:3: .* holds int, .* on_bad_rows: skip"):
        _prepared(str(folder), tokenizer, tmp_path)


def test_counts_do_not_depend_on_processes_and_chunks(folder, tokenizer, tmp_path):
    options = {"on_bad_rows": "skip", "num_workers": 2, "documents_per_chunk": 3}
    one = _prepared(str(folder), tokenizer, tmp_path / "one", on_bad_rows="skip")
    two = _prepared(str(folder), tokenizer, tmp_path / "two", **options)
    assert one.counts == two.counts


def test_the_table_has_a_row_a_source_and_no_columns_of_zeros():
    counts = [
        SourceCounts("corpus/", files=2, texts=1200, blank=3, documents=1300, tokens=20_000),
        SourceCounts("a" * 60 + ".txt", files=1, texts=7, documents=7, tokens=70),
    ]
    assert list(table(counts)) == [
        "source                                    files  blank rows  texts  documents  tokens",
        "corpus/                                       2           3  1,200      1,300  20,000",
        "..." + "a" * 33 + ".txt" + "      1           0      7          7      70",
    ]


def test_what_was_skipped_is_named_below_the_table():
    named = [f"a.jsonl:{number}: is not JSON." for number in range(NAMED)]
    counts = SourceCounts("a.jsonl", bad=1000, faults=named, other_files=1, passed_over=["b.md"], repeated=3)
    counts.repeated_exactly = False
    _, row, passed, skipped = table([counts])
    assert "about 3" in row
    assert passed == "not read of a.jsonl: b.md"
    assert skipped.startswith("skipped of a.jsonl: a.jsonl:0: is not JSON.; a.jsonl:1")
    assert skipped.endswith("; and 995 more")


def test_the_event_holds_all_counts():
    event = data_event(
        [SourceCounts("a", texts=2, blank=1, documents=2, tokens=9), SourceCounts("b", texts=1)]
    )
    assert event["reason"] == "1 blank rows, 3 texts, 2 documents, 9 tokens"
    assert [source["source"] for source in event["sources"]] == ["a", "b"]
    json.dumps(event)


def test_a_folder_that_cannot_be_looked_into_is_an_error(folder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("inside"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    (folder / "inside").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="inside: the folder cannot be read"):
        find_files(str(folder))


def test_a_link_to_a_file_that_is_gone_is_an_error(folder):
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    with pytest.raises(DataError, match=r"gone.txt: is a broken link"):
        list(TextReader().texts(str(folder)))
