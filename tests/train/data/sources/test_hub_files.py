"""Data sets of the hub that are streamed: ``datasets`` reads a local folder as it reads one of the hub."""

import json

import attrs
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources import hub_files as hub_files_module
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.hub_files import hub_files
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import RowChecker
from ultra_train.data.sources.texts import TextReader, identity

SOURCE = DataSource("owner/served")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder that is read when the data set ``owner/served`` is asked for."""
    load, folder = datasets.load_dataset_builder, tmp_path / "served"
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda _, name: load(str(folder), name))
    folder.mkdir()
    hub_files.cache_clear()
    yield folder
    hub_files.cache_clear()


def _write(folder, number, texts):
    table = pa.table({"text": texts, "id": list(range(len(texts)))})
    pq.write_table(table, folder / f"train-{number:05d}-of-00002.parquet", row_group_size=3)


def _rest(source, place):
    return [record.text for record in TextReader(streamed=True).records(source, place=attrs.evolve(place))]


def test_reading_goes_on_at_every_row_of_a_parquet_file(folder):
    _write(folder, 0, [f"a{n}" for n in range(7)])
    _write(folder, 1, ["b0", None, "b2", "b3"])
    place, checker = Place(), RowChecker()
    places = [attrs.evolve(place)]
    texts = []
    for record in TextReader(streamed=True).records(SOURCE, checker, place):
        texts.append(record.text)
        places.append(attrs.evolve(place))
    assert texts == [*(f"a{n}" for n in range(7)), "b0", "b2", "b3"]
    assert (checker.counts.files, checker.counts.blank) == (2, 1)
    assert [_rest(SOURCE, place) for place in places] == [texts[n:] for n in range(len(places))]
    files = hub_files("owner/served", None, "train", "text")
    shares = [files.share_of_file(place) for place in places[:-1]]
    assert 0 == shares[0] < shares[1] < shares[4] < shares[7] <= 1
    assert shares[:7] == sorted(shares[:7])


def test_only_the_row_groups_that_are_needed_are_read(folder, monkeypatch):
    _write(folder, 0, [f"a{n}" for n in range(9)])
    opened = []
    files = hub_files("owner/served", None, "train", "text")
    assert files._rows.column_names == ["text"]
    split = files._split_file
    monkeypatch.setattr(files, "_parts", lambda number: opened.append(number) or split(number))
    assert list(files.texts(RowChecker(), Place(0, 1, 2))) == ["a7", "a8"]


def test_other_formats_go_on_at_every_row_too(folder):
    for name in ("a", "b"):
        lines = [json.dumps({"text": f"{name}{n}"}) for n in range(3)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    assert _rest(SOURCE, Place(0, 2)) == ["a2", "b0", "b1", "b2"]
    with pytest.raises(DataError, match=r"owner/served: a.jsonl, .* has no column 'body'; its columns are"):
        _rest(attrs.evolve(SOURCE, column="body"), Place())


def test_files_that_changed_are_another_data_set(folder):
    _write(folder, 0, ["uno"])
    before = identity(SOURCE, streamed=True)
    hub_files.cache_clear()
    assert identity(SOURCE, streamed=True) == before
    _write(folder, 0, ["uno", "dos"])
    hub_files.cache_clear()
    assert identity(SOURCE, streamed=True) != before


def test_a_commit_that_changes_no_file_keeps_the_data(monkeypatch):
    class Served:
        def info(self, path):
            return {"size": 7, "blob_id": path[-1], "name": path}

    monkeypatch.setattr("fsspec.url_to_fs", lambda url: (Served(), url))
    one, two, other = (
        hub_files_module._entry(f"hf://datasets/owner/name@{revision}/data/{name}")
        for revision, name in (("a" * 40, "x"), ("b" * 40, "x"), ("a" * 40, "y"))
    )
    assert one == two == ("hf://datasets/owner/name/data/x", 7.0, "x")
    assert one != other


def test_damage_is_a_fault_and_a_lost_connection_ends_the_run(folder, monkeypatch):
    _write(folder, 0, ["uno", "dos"])
    files = hub_files("owner/served", None, "train", "text")
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"], pa.binary()).buffers())

    def served(*tables):
        def batches(**_):
            for table in tables:
                if isinstance(table, Exception):
                    raise table
                yield table

        class Part:
            num_shards = 1
            shard = skip = lambda self, *_: self
            iter = staticmethod(batches)

        monkeypatch.setattr(files, "_parts", lambda number: Part())

    served(pa.table({"text": broken}))
    checker = RowChecker("", "skip")
    assert list(files.texts(checker, Place())) == []
    assert checker.counts.unreadable == 1
    served(pa.table({"text": ["uno"]}), ConnectionError("reset by peer\nlong"))
    texts = files.texts(RowChecker("", "skip"), Place())
    assert next(texts) == "uno"
    with pytest.raises(
        DataError, match=r"row 1: the hub stopped answering \(ConnectionError: reset by peer\)"
    ):
        next(texts)


def test_what_cannot_be_loaded_says_why(folder):
    with pytest.raises(DataError, match="owner/served: there is no file or folder of this name, and as a"):
        _rest(SOURCE, Place())
    _write(folder, 0, ["uno"])
    with pytest.raises(DataError, match="Bad split: tran"):
        _rest(attrs.evolve(SOURCE, split="tran"), Place())
