import numpy as np
import pytest

from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.batches.loader import BatchLoader
from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.token_cache.build import prepare


@pytest.fixture
def make(corpus, tokenizer, tmp_path):
    def loader(weight=1.0, **options):
        sources = read_sources({"source": str(corpus), "weight": weight})
        shards, _ = prepare(sources, tokenizer, max_length=32, cache_dir=tmp_path / "cache")
        plan = BatchPlan(shards, batch_size=8, max_length=32, seed=options.pop("seed", 0))
        return BatchLoader(plan, MLMCollator(shards, tokenizer), **options)

    return loader


def _ids(batch):
    return batch["input_ids"].tolist(), batch["labels"].tolist()


def _take(loader, count):
    """Take batches over the ends of epochs, as a trainer does."""
    taken = []
    while len(taken) < count:
        for batch in loader:
            taken.append(_ids(batch))
            if len(taken) == count:
                break
    return taken


@pytest.mark.parametrize("num_workers", [0, 2])
def test_three_interruptions_give_what_an_uninterrupted_run_gives(make, num_workers):
    count = 2 * len(make()) + 5
    whole = _take(make(), count)
    parts, state = [], None
    for size in (3, len(make()) - 1, 4, count - len(make()) - 6):
        loader = make(num_workers=num_workers)
        if state is not None:
            loader.load_state_dict(state)
        parts += _take(loader, size)
        state = loader.state_dict()
    assert parts == whole


def test_epochs_without_batches_are_passed_over(make):
    loader = make(weight=0.001)
    epochs = [len(list(loader)) for _ in range(20)]
    assert 0 in epochs
    assert sum(epochs) > 0
    empty = epochs.index(0)
    loader.load_state_dict({**loader.state_dict(), "epoch": empty, "index": 0})
    assert _take(loader, 2)
    assert loader.state_dict()["epoch"] > empty


def test_the_state_is_plain_and_counts_what_was_handed_out(make):
    loader = make()
    iterator = iter(loader)
    assert loader.state_dict()["index"] == 0
    next(iterator)
    next(iterator)
    state = loader.state_dict()
    assert (state["epoch"], state["index"]) == (0, 2)
    assert loader.remaining == len(loader) - 2
    assert all(type(value) in (int, str) for value in state.values())


def test_the_end_of_an_epoch_is_the_beginning_of_the_next(make):
    loader = make()
    first = [_ids(batch) for batch in loader]
    assert len(first) == len(loader)
    assert loader.state_dict()["epoch"] == 1
    second = [_ids(batch) for batch in loader]
    assert first != second
    loader.set_epoch(2)
    assert loader.remaining == len(loader)
    loader.set_epoch(0)
    assert [_ids(batch) for batch in loader] == first


def test_a_state_of_other_data_is_refused(make):
    state = make(seed=1).state_dict()
    with pytest.raises(DataError, match="belongs to seed 1, but this run has 0"):
        make().load_state_dict(state)
    other = {**make().state_dict(), "shards": "elsewhere"}
    with pytest.raises(DataError, match="belongs to shards 'elsewhere'"):
        make().load_state_dict(other)


@pytest.mark.parametrize(
    "damage",
    [{"epoch": -1}, {"epoch": None}, {"epoch": "1"}, {"index": 10**9}, {"index": 0.5}, {"index": True}],
)
def test_a_damaged_state_is_refused(make, damage):
    with pytest.raises(DataError, match="data position is damaged"):
        make().load_state_dict({**make().state_dict(), **damage})


def test_resuming_reads_only_what_it_yields(make, monkeypatch):
    loader = make(epoch=1, index=3)
    gathered = []
    gather = loader.plan.shards.gather
    monkeypatch.setattr(loader.plan.shards, "gather", lambda draws: gathered.append(draws) or gather(draws))
    next(iter(loader))
    assert len(gathered) == 1
    assert np.array_equal(gathered[0], loader.plan.batch(1, 3).draws % len(loader.plan.shards))
