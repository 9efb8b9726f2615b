"""Several processes: memory of each, bytes that it sends."""

import attrs
import pytest

from ultra_core.errors import UltraError
from ultra_train.estimate.dry_run import StepMemory
from ultra_train.estimate.spread import Spread

MEMORY = StepMemory(
    weights=800, gradients=800, state=1600, activations=300, logits=50, working=400, scratch=160,
    forward_flops=1, backward_flops=2, step_flops=0,
)  # fmt: skip


def test_one_process_takes_what_the_step_takes_and_sends_nothing():
    alone = Spread()
    assert alone.peak(MEMORY, layer=10, rest=20, accumulation=4) == MEMORY.peak == 3600
    assert alone.sent(MEMORY, accumulation=4) == 0


def test_ddp_takes_as_much_as_one_process_and_sums_gradients_once_an_update():
    spread = Spread(processes=8)
    assert spread.peak(MEMORY, layer=10, rest=20, accumulation=4) == MEMORY.peak
    assert spread.sent(MEMORY, accumulation=4) == 2 * 7 / 8 * 800


def test_ddp_divides_the_matrices_of_matrix_methods_within_each_host():
    """Of 1,600 bytes of state 800 are of matrices; their 800 bytes of weights travel within the host."""
    memory = attrs.evolve(MEMORY, divided=800, divided_state=800, step_flops=64)
    for hosts, local in ((1, 8), (2, 4), (8, 1)):
        spread = Spread(processes=8, hosts=hosts)
        assert spread.state(memory) == 800 + 800 / local
        exchanged = max(400, 2 * (local - 1) / local * 800)
        assert spread.peak(memory, layer=10, rest=20, accumulation=4) == 1600 + 800 + 800 / local + exchanged
        assert spread.sent(memory, accumulation=4) == 2 * 7 / 8 * 800 + (local - 1) / local * 800
        assert spread.step_flops(memory) == 64 / local


def test_fsdp_divides_what_stays_and_gathers_layers_in_every_micro_batch():
    spread = Spread(processes=8, strategy="fsdp")
    assert spread.peak(MEMORY, layer=10, rest=20, accumulation=1) == 3200 / 8 + 20 + 2 * 10 + 20 + 400
    assert spread.peak(MEMORY, layer=10, rest=20, accumulation=4) == 3200 / 8 + 20 + 2 * 10 + 800 + 400
    assert spread.sent(MEMORY, accumulation=4) == 7 / 8 * (4 * 2 * 800 + 800)


def test_processes_that_do_not_divide():
    with pytest.raises(UltraError, match="6 processes cannot be divided among 4 hosts"):
        Spread(processes=6, hosts=4)
