"""The stream of micro-batches that the processes of a run share."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from ultra_train.data.batches.examples import ExampleBatches, ExampleLoader
from ultra_train.system.processes import Processes
from ultra_train.trainer.stream import EndlessBatches, num_real_tokens


class Plain:
    """A loader of three batches an epoch that cannot leave any out."""

    def __init__(self):
        self.epoch = self.index = 0

    def __len__(self):
        return 3

    def __iter__(self):
        while self.index < 3:
            batch = self.epoch, self.index
            self.index += 1
            yield batch
        self.epoch, self.index = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "index": self.index}

    def load_state_dict(self, state):
        self.epoch, self.index = state["epoch"], state["index"]


def selective():
    """The same batches, of which only those are made that this process trains on."""
    batches = ExampleBatches(3, lambda epoch, ids: (epoch, *ids), batch_size=1, shuffle=False)
    return ExampleLoader(batches)


def streams(count, make, skipped=()):
    return [EndlessBatches(make(), skipped, Processes(rank, count)) for rank in range(count)]


@pytest.mark.parametrize("make", [Plain, selective])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_processes_take_turns_over_the_ends_of_epochs(make, count):
    skipped = [(0, 2), (2, 0)]
    together = streams(count, make, skipped)
    rounds = list(islice(zip(*together, strict=True), 4))
    there = [(e, i) for e in range(10) for i in range(3) if (e, i) not in skipped]
    assert [batch for round in rounds for batch in round] == there[: 4 * count]
    for stream in together:
        assert stream.round == there[3 * count : 4 * count]
        assert stream.position == together[0].position
    (alone,) = streams(1, make, skipped)
    alone.move_to(together[0].position)
    assert next(iter(alone)) == there[4 * count]


def test_a_loader_is_asked_for_the_batches_of_this_process_only():
    made = []
    loader = ExampleLoader(ExampleBatches(5, lambda epoch, ids: made.append((epoch, *ids)), batch_size=1))
    stream = EndlessBatches(loader, (), Processes(1, 2))
    list(islice(stream, 5))
    assert len(made) == 5
    assert stream.position == (2, 0)


def test_tokens_are_counted_in_all_columns():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    batch = {"input_ids": torch.ones(2, 3), "attention_mask": mask}
    assert num_real_tokens(batch) == 3
    columns = {
        f"{column}_{name}": value for column in ("anchor", "positive") for name, value in batch.items()
    }
    assert num_real_tokens({**columns, "query_input_ids": torch.ones(2, 2), "label": mask}) == 3 + 3 + 4
