"""What processes decide alike."""

from __future__ import annotations

import pytest
from transformers import TrainerControl

from support.ranks import on_ranks
from ultra_train.system.processes import Processes, processes
from ultra_train.trainer.agreement import Agreement

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def settled(here: Processes) -> tuple[TrainerControl, float, float]:
    agreement, control = Agreement(here), TrainerControl()
    control.should_log = True
    control.should_save = here.rank == 1
    agreement.watch("heat", lambda: 70.0 + here.rank)
    agreement.watch("cold", lambda: -float(here.rank))
    agreement.settle(control)
    return control, agreement.agreed("heat"), agreement.agreed("cold")


def test_the_largest_entry_and_every_wish_count():
    expected = TrainerControl(should_log=True, should_save=True), 71.0, 0.0
    assert on_ranks(2, lambda: settled(processes())) == [expected] * 2


def test_a_process_alone_exchanges_nothing(monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", None)
    assert settled(Processes()) == (TrainerControl(should_log=True), 70.0, 0.0)
    agreement = Agreement(Processes())
    assert agreement.largest(1.0, -2.0) == (1.0, -2.0)
    assert agreement.agreed("heat") == 0.0
