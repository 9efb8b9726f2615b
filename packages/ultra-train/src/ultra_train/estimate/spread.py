"""What several processes change: the memory of each, and what it sends over the network."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_core.errors import UltraError
from ultra_optim.sharded.exchange import ROUND
from ultra_optim.sharded.traffic import mean_bytes_of_update
from ultra_train.estimate.dry_run import StepMemory

Strategy = Literal["ddp", "fsdp"]


@attrs.frozen(kw_only=True)
class Spread:
    """Processes that train together, one on each device.

    Attributes:
        processes: how many there are on all hosts together.
        hosts: machines that they run on.
        strategy: ``ddp`` gives every process all weights; ``fsdp`` divides weights, gradients and the state
            of the optimizer, and gathers the weights of a layer while it is computed.
    """

    processes: int = 1
    hosts: int = 1
    strategy: Strategy = "ddp"

    def __attrs_post_init__(self) -> None:
        if self.processes % self.hosts:
            raise UltraError(
                f"{self.processes} processes cannot be divided among {self.hosts} hosts; every host runs as "
                "many as it has devices"
            )

    def peak(self, memory: StepMemory, *, layer: int, rest: int, accumulation: int) -> int:
        """Return the most bytes that the tensors of a process take at once.

        Args:
            memory: of the whole model on one device.
            layer: bytes of the weights of the largest layer.
            rest: bytes of the weights outside all layers, which stay gathered during a micro-batch.
            accumulation: micro-batches in an update; with fsdp, gradients stay whole until the last.
        """
        if self.processes == 1 or self.strategy == "ddp":  # gradients are parts of the buckets that are sent
            share = (self.of_host - 1) / self.of_host
            received = 2 * share * min(memory.divided, 4 * ROUND)  # and what is sent
            stays = memory.weights + memory.gradients + self.state(memory)
            return stays + max(memory.working, memory.scratch, round(received))
        resident = memory.weights + memory.gradients + memory.state
        gathered = rest + 2 * layer + (memory.gradients if accumulation > 1 else max(rest, layer))
        own = -(-resident // self.processes)
        return own + max(gathered + memory.working, -(-memory.scratch // self.processes))

    @property
    def of_host(self) -> int:
        """Processes of one host."""
        return self.processes // self.hosts

    def state(self, memory: StepMemory) -> int:
        """Return the bytes of the optimizer's state: with ddp of a process, with fsdp of all together.

        With ddp, the processes of a host divide the matrices of matrix methods.
        """
        if self.strategy == "fsdp":
            return memory.state
        return memory.state - memory.divided_state + -(-memory.divided_state // self.of_host)

    def step_flops(self, memory: StepMemory) -> int:
        """Return the operations of matrix products in a step of the optimizer on one process."""
        if self.strategy == "fsdp":
            return memory.step_flops // self.processes
        return memory.step_flops // self.of_host if memory.divided else memory.step_flops

    def sent(self, memory: StepMemory, *, accumulation: int) -> int:
        """Return the bytes that a process sends in an update, in a ring.

        The gradients are summed once an update. With ddp, weights that the processes of a host divide are
        sent once, within the host. With fsdp the weights are gathered for the forward and for
        the backward pass of every micro-batch.
        """
        share = (self.processes - 1) / self.processes
        if self.strategy == "ddp":
            divided = mean_bytes_of_update(memory.divided, self.of_host, gathered=False)
            return round(2 * share * memory.gradients + divided)
        return round(share * (2 * accumulation * memory.weights + memory.gradients))
