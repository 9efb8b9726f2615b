import datasets
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.rows import open_rows
from ultra_train.data.sources import hub

NLI = datasets.Features(
    {
        "premise": datasets.Value("string"),
        "hypothesis": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["contradiction", "neutral", "entailment"]),
    }
)


def served(monkeypatch, splits):
    monkeypatch.setattr(datasets, "load_dataset", lambda dataset, name, **where: datasets.DatasetDict(splits))
    hub.load_splits.cache_clear()


@pytest.fixture(autouse=True)
def _forget():
    yield
    hub.load_splits.cache_clear()


def test_a_data_set_of_the_hub_has_splits_and_names_of_classes(monkeypatch):
    rows = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 2]}
    part = datasets.Dataset.from_dict(rows, features=NLI)
    served(monkeypatch, {"train": part, "validation": part.select([1])})
    source = open_rows("owner/nli", "nli", "nb")
    assert [(row.split, row.row["premise"]) for row in source.rows()] == [
        ("train", "a"),
        ("train", "b"),
        ("dev", "b"),
    ]
    assert source.labels == {"label": ["contradiction", "neutral", "entailment"]}
    assert [row.where for row in source.rows()][-1] == "owner/nli: validation, row 1"
    assert source.identity["name"] == "nb"


def test_a_single_split_is_train_and_others_must_have_known_names(monkeypatch):
    part = datasets.Dataset.from_dict({"query": ["a"], "pos": ["b"]})
    served(monkeypatch, {"all": part})
    assert [row.split for row in open_rows("owner/one", "qa").rows()] == ["train"]
    served(monkeypatch, {"train": part, "norwegian": part})
    with pytest.raises(
        DataError, match="has the splits train, norwegian, of which norwegian are none of train"
    ):
        open_rows("owner/two", "qa")


def test_what_is_not_there_is_an_error(monkeypatch):
    def unreachable(dataset, name, **where):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    hub.load_splits.cache_clear()
    with pytest.raises(
        DataError, match="owner/missing: there is no file or folder of this name, and as a data"
    ):
        open_rows("owner/missing", "qa")
    with pytest.raises(DataError, match=r"pairs\.json: there is no such file or folder"):
        open_rows("pairs.json", "qa")
    with pytest.raises(DataError, match="There is no embedded data set 'ultra:fr-commands'"):
        open_rows("ultra:fr-commands", "qa")
