import datasets
import pyarrow as pa
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources import hub
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.row_checker import RowChecker
from ultra_train.data.sources.texts import TextReader, identity


@pytest.fixture
def _served(monkeypatch):
    table = datasets.Dataset.from_dict({"body": ["uno", None, "dos"], "id": [1, 2, 3]})
    monkeypatch.setattr(datasets, "load_dataset", lambda dataset, name, split: table)
    hub._load.cache_clear()
    yield
    hub._load.cache_clear()


@pytest.mark.usefixtures("_served")
def test_a_column_of_a_data_set_is_read():
    source = DataSource("owner/served", column="body", name="es")
    assert list(TextReader().texts(source)) == ["uno", "dos"]
    assert identity(source)["fingerprint"]
    with pytest.raises(DataError, match="no column 'text'; its columns are 'body', 'id'"):
        list(TextReader().texts("owner/served"))


def test_a_damaged_copy_of_a_data_set_is_an_error_or_is_skipped(monkeypatch):
    monkeypatch.setattr(hub, "_ROWS_AT_ONCE", 2)
    values = pa.array([b"uno", b"dos", b"\xff", b"tres", b"cuatro", None], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 6, values.buffers())
    table = datasets.Dataset(pa.table({"text": column}))
    monkeypatch.setattr(hub, "_load", lambda *args: table)
    with pytest.raises(DataError, match="owner/served: rows 3 to 4: the copy on this machine is damaged"):
        list(TextReader().texts("owner/served"))
    checker = RowChecker("owner/served", "skip")
    assert list(hub.texts("owner/served", None, "train", "text", checker)) == ["uno", "dos", "cuatro"]
    assert (checker.counts.unreadable, checker.counts.blank) == (1, 1)


def test_what_cannot_be_loaded_says_why():
    with pytest.raises(DataError, match="owner/nowhere: there is no file or folder of this name"):
        list(TextReader().texts("owner/nowhere"))
