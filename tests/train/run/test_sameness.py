"""Processes that were started differently end with an error, all of them and before they train."""

from __future__ import annotations

import pytest

from support.ranks import on_ranks
from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.run.execution import execute
from ultra_train.run.sameness import check_same_data
from ultra_train.system.process_group import join
from ultra_train.system.processes import processes

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def messages(count, function):
    """What the error says on every process."""

    def run():
        with pytest.raises(UltraError) as caught:
            function(processes().rank)
        return str(caught.value)

    return on_ranks(count, run, group=False)


@pytest.mark.parametrize(
    ("overrides", "resume", "keys"),
    [
        (("training.seed=5", "training.max_steps=4"), False, "training.max_steps, training.seed"),
        ((), True, "--resume"),
    ],
)
def test_other_settings_on_one_process(tiny_preset, tmp_path, overrides, resume, keys):
    def start(rank):
        preset = load_preset(tiny_preset, overrides if rank else ())
        execute(preset, output_dir=tmp_path / "runs", device="cpu", resume=resume and rank == 1)

    said = messages(2, start)
    assert said == [said[0]] * 2
    assert said[0].startswith(f"process 1 was started with other settings than process 0: {keys}. Start all")
    assert not (tmp_path / "runs").exists()


def test_other_data_on_one_process():
    def start(rank):
        join(processes()).open("cpu")
        check_same_data(processes(), {"data": "a" if rank == 0 else "b"})

    for said in messages(2, start):
        assert said.startswith("process 1 has read other texts or another tokenizer than process 0;")


def test_another_kind_of_device_on_one_process():
    def start(rank):
        join(processes()).open("cpu" if rank == 0 else "cuda")

    for said in messages(2, start):
        assert said.startswith("process 1 would train on cuda and process 0 on cpu;")
