"""Batches of examples: pure functions of seed, epoch and index; a position that resumes exactly."""

import pytest

from ultra_train.data.batches.examples import ExampleBatches, ExampleLoader
from ultra_train.data.errors import DataError


def batches(count=10, size=4, **options):
    return ExampleBatches(count, lambda epoch, ids: {"epoch": epoch, "ids": ids}, batch_size=size, **options)


def ids(made, epoch):
    return [i for index in range(len(made)) for i in made.batch(epoch, index)["ids"]]


def test_every_epoch_has_every_example_in_an_order_of_its_own():
    made = batches(seed=3)
    assert [len(batch["ids"]) for batch in made] == [4, 4, 2]
    assert sorted(ids(made, 0)) == sorted(ids(made, 7)) == list(range(10))
    assert ids(made, 0) != ids(made, 7)
    assert ids(made, 7) == ids(batches(seed=3), 7) != ids(batches(seed=4), 7)
    assert ids(batches(shuffle=False), 5) == list(range(10))


def test_only_chosen_batches_are_made():
    made = []
    loader = ExampleLoader(ExampleBatches(10, lambda epoch, ids: made.append(ids) or ids, batch_size=4))
    found = list(loader.select(lambda position: position[1] == 1))
    assert [batch is None for batch in found] == [True, False, True]
    assert made == [found[1]]
    assert loader.state_dict() == {"epoch": 1, "index": 0}


def test_a_loader_goes_on_where_it_was():
    whole = ExampleLoader(batches())
    seen = [(batch["epoch"], batch["ids"]) for _ in range(3) for batch in whole]
    cut = ExampleLoader(batches())
    first = next(iter(cut))
    assert cut.state_dict() == {"epoch": 0, "index": 1}
    resumed = ExampleLoader(batches())
    resumed.load_state_dict(cut.state_dict())
    rest = [(batch["epoch"], batch["ids"]) for _ in range(3) for batch in resumed]
    assert [(first["epoch"], first["ids"]), *rest] == seen
    assert resumed.state_dict() == {"epoch": 3, "index": 0}


@pytest.mark.parametrize("state", [{}, {"epoch": 0, "index": 3}, {"epoch": -1, "index": 0}, {"epoch": True}])
def test_a_damaged_position_is_refused(state):
    with pytest.raises(DataError, match="damaged"):
        ExampleLoader(batches()).load_state_dict(state)


def test_no_examples_are_refused():
    with pytest.raises(DataError, match="no examples"):
        batches(0)
