import datasets
import pytest

from ultra_train.data import hub
from ultra_train.data.errors import DataError
from ultra_train.data.sources import Source, documents, identity


@pytest.fixture
def _served(monkeypatch):
    table = datasets.Dataset.from_dict({"body": ["uno", None, "dos"], "id": [1, 2, 3]})
    monkeypatch.setattr(datasets, "load_dataset", lambda dataset, name, split: table)
    hub._load.cache_clear()
    yield
    hub._load.cache_clear()


@pytest.mark.usefixtures("_served")
def test_a_column_of_a_data_set_is_read():
    source = Source("owner/served", column="body", name="es")
    assert list(documents(source)) == ["uno", "dos"]
    assert identity(source)["fingerprint"]
    with pytest.raises(DataError, match="no column 'text'; its columns are 'body', 'id'"):
        list(documents("owner/served"))


def test_what_cannot_be_loaded_says_why():
    with pytest.raises(DataError, match="owner/nowhere: there is no file or folder of this name"):
        list(documents("owner/nowhere"))
