import pickle
from itertools import islice
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

import ultra_train
from ultra_train.data.errors import DataError
from ultra_train.data.streaming import dataset
from ultra_train.system.processes import Processes


@pytest.fixture
def make(sources, tokenizer, tmp_path):
    def make(**options):
        options = {"max_length": 32, "batch_size": 4, "window": 40, "seed": 3, **options}
        return ultra_train.StreamingMLMDataset(sources, tokenizer, cache_dir=tmp_path / "cache", **options)

    return make


def _lists(batches):
    return [{name: tensor.tolist() for name, tensor in batch.items()} for batch in batches]


def test_an_epoch_is_divided_among_processes_and_workers(make, tokenizer):
    whole = _lists(make())
    assert len(whole) > 20
    assert any(tokenizer.mask_token_id in row for row in whole[0]["input_ids"])
    parts = [_lists(make(here=Processes(rank, 2, rank, 2))) for rank in (0, 1)]
    assert parts == [whole[0::2], whole[1::2]]
    two = DataLoader(make(), batch_size=None, num_workers=2)
    assert _lists(two) == whole


def test_a_state_continues_exactly_and_the_next_iteration_is_the_next_epoch(make):
    one, two = make(), make()
    epochs = _lists(one) + _lists(one)
    found = _lists(islice(two, 7))
    for _ in range(2):
        state, two = two.state_dict(), make()
        two.load_state_dict(state)
        found += _lists(islice(two, 5))
    found += _lists(two)
    found += _lists(two)
    assert found == epochs
    assert two.state_dict()["epoch"] == 2


def test_single_documents_have_no_padding(make, tokenizer):
    data = make(batch_size=None)
    documents = _lists(data)
    assert data.state_dict()["epoch"] == 1
    assert len(documents) == sum(len(batch["input_ids"]) for batch in _lists(make()))
    assert all(set(document) == {"input_ids", "labels"} for document in documents)
    assert all(document["input_ids"][0] == tokenizer.cls_token_id for document in documents)


def test_workers_go_on_with_the_next_epoch_and_only_they_know_where_they_are(make):
    one, two = make(), make()
    epochs = [_lists(one) for _ in range(3)]
    loader = DataLoader(two, batch_size=None, num_workers=2)
    assert [_lists(loader) for _ in range(2)] == epochs[:2]
    with pytest.raises(DataError, match="StatefulDataLoader"):
        two.state_dict()
    two.load_state_dict({"epoch": 2, "index": 3})
    assert two.state_dict() == {"epoch": 2, "index": 3}
    assert sorted(map(str, _lists(loader))) == sorted(map(str, epochs[2][3:]))


def test_a_worker_begins_at_its_own_state_as_torchdata_restores_it(make, monkeypatch):
    whole = _lists(make())
    data = make()
    next(iter(data))
    worker = pickle.loads(pickle.dumps(data, protocol=5))
    monkeypatch.setattr(dataset, "get_worker_info", lambda: SimpleNamespace(id=1, num_workers=2))
    found = _lists(islice(worker, 2))
    state = worker.state_dict()
    again = pickle.loads(pickle.dumps(data))
    again.load_state_dict(state)
    assert found + _lists(again) == whole[1::2]


def _first(data):
    return _lists(islice(DataLoader(data, batch_size=None, num_workers=1), 1))


def test_a_fork_does_not_end_the_process_that_tokenises_for_its_parent(make):
    data = make(num_workers=1)
    whole = _lists(make())
    assert _lists(islice(data, 2)) == whole[:2]
    assert _first(data) == whole[2:3]
    assert data._opened.stream._ahead._process.is_alive()


def test_a_state_of_other_data_is_refused(make):
    data = make()
    next(iter(data))
    other = make(window=30)
    other.load_state_dict(data.state_dict())
    with pytest.raises(DataError, match="belongs to shards"):
        next(iter(other))


@pytest.mark.parametrize(
    "option",
    [{"window": 0}, {"batch_size": 0}, {"num_workers": -1}, {"budget_gb": -1}, {"eval_fraction": 1.0}],
)
def test_arguments_out_of_range_are_refused(make, option):
    with pytest.raises(DataError, match=f"{next(iter(option))} is .*, but it must be at least"):
        make(**option)
