"""The estimate of a preset on a device: memory, time, disk and traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from ultra_core import optimizers, tasks
from ultra_core.errors import UltraError
from ultra_optim.contract.traits import traits_of
from ultra_train.config.preset import Preset
from ultra_train.config.training import TrainingConfig
from ultra_train.estimate.devices import Device
from ultra_train.estimate.dry_run import StepMemory, dry_run
from ultra_train.estimate.parts import parameters_by_part, unit_sizes
from ultra_train.estimate.spread import Spread
from ultra_train.hf.precision import DTYPES, Precision
from ultra_train.tasks.base import Task
from ultra_train.trainer.plugins import optimizer_builder

BYTES_PER_TOKEN = 4
"""Bytes of text in a token of a vocabulary of about 50,000 pieces."""

OTHER_FILES = 1_000_000
"""Bytes of a checkpoint beside weights and state."""


@attrs.frozen(kw_only=True)
class Disk:
    """Bytes that a run writes.

    Attributes:
        checkpoint: one checkpoint: weights, state of the optimizer, and little else.
        checkpoints: those that are kept, and the one that is being written.
        model: the finished model.
        token_cache: the tokenised texts; None where their size is not known.
    """

    checkpoint: int
    checkpoints: int
    model: int
    token_cache: int | None

    @property
    def total(self) -> int:
        """Return the sum of what is known."""
        return self.checkpoints + self.model + (self.token_cache or 0)


@attrs.frozen(kw_only=True)
class Estimate:
    """What a run takes.

    Attributes:
        preset: its name.
        device: what it is estimated for.
        spread: the processes.
        precision: of the matrix products: fp32, bf16 or fp16.
        parameters: numbers of parameters by part.
        memory: of the whole model and its step on one device.
        peak: the most bytes that the tensors of a process take at once.
        batch_size: rows in a micro-batch.
        accumulation: micro-batches in an update of a process.
        max_length: tokens in a row.
        tokens: in an update of all processes.
        flops: operations of matrix products in an update of a process, a multiply-add counted as two.
        updates: of the run, if the data do not end it earlier.
        sent: bytes that a process sends in an update.
        disk: what is written.
        corpus: bytes of text; None where they are not known.
        layer: bytes of the weights of the largest layer.
        rest: bytes of the weights outside all layers.
    """

    preset: str
    device: Device
    spread: Spread
    precision: Precision
    parameters: Mapping[str, int]
    memory: StepMemory
    peak: int
    batch_size: int
    accumulation: int
    max_length: int
    tokens: int
    flops: int
    updates: int
    sent: int
    disk: Disk
    corpus: int | None
    layer: int
    rest: int

    @property
    def needed(self) -> int:
        """The bytes that a process takes on its device, with an allowance for all that is no tensor."""
        return self.peak + self.device.allowance(self.peak)

    @property
    def seconds(self) -> float | None:
        """The time of an update without communication; None where the rate of the device is not known."""
        return self.device.seconds(self.flops, self.precision)

    @property
    def hours(self) -> float | None:
        """The time of the run."""
        return None if self.seconds is None else self.seconds * self.updates / 3600

    @property
    def updates_of_corpus(self) -> int | None:
        """The updates in which every text is read once."""
        if self.corpus is None:
            return None
        return math.ceil(self.corpus / BYTES_PER_TOKEN / self.tokens)

    def with_spread(self, spread: Spread, *, accumulation: int) -> Estimate:
        """Return the estimate for other processes and micro-batches in an update, without another dry run."""
        memory = self.memory
        return attrs.evolve(
            self,
            spread=spread,
            accumulation=accumulation,
            peak=spread.peak(memory, layer=self.layer, rest=self.rest, accumulation=accumulation),
            tokens=self.tokens
            // (self.accumulation * self.spread.processes)
            * accumulation
            * spread.processes,
            flops=accumulation * (memory.forward_flops + memory.backward_flops) + spread.step_flops(memory),
            sent=spread.sent(memory, accumulation=accumulation),
        )

    def with_corpus(self, preset: Preset, corpus: int) -> Estimate:
        """Return the estimate of the preset for so many bytes of text."""
        return attrs.evolve(
            self,
            corpus=corpus,
            disk=_disk(preset, task_of(preset).training_keys(preset), self.memory, corpus),
        )

    def fits(self, memory: int | None = None) -> bool:
        """Return whether a process fits into so many bytes, or into the memory of its device."""
        limit = self.device.memory if memory is None else memory
        return limit is None or self.needed <= limit


def estimate(
    preset: Preset, device: Device, spread: Spread | None = None, *, corpus: int | None = None
) -> Estimate:
    """Return the estimate of a preset; nothing is built in memory and no data are read.

    Args:
        preset: a loaded preset.
        device: what it would train on.
        spread: processes, hosts and strategy; one process if None.
        corpus: bytes of text, for the token cache and the updates that read all of it.

    Raises:
        UltraError: its task does not define a step without data, or its base model is not known here.
    """
    task, spread = task_of(preset), spread or Spread()
    training = task.training_keys(preset)
    step = task.dry_step(preset, device_type=device.kind)
    precision = _precision(training, device)
    run = dry_run(
        step,
        build_optimizer=optimizer_builder(training),
        accumulation=training.gradient_accumulation_steps,
        autocast=None if precision == "fp32" else DTYPES[precision],
        on_cpu=device.kind == "cpu",
        activation_checkpointing=training.activation_checkpointing,
    )
    memory, width = run.memory, DTYPES[training.weights_dtype].itemsize
    layer, rest = unit_sizes(run.model)
    alone = Estimate(
        preset=preset.name,
        device=device,
        spread=Spread(),
        precision=precision,
        parameters=parameters_by_part(run.model),
        memory=memory,
        peak=memory.peak,
        batch_size=training.batch_size,
        accumulation=1,
        max_length=step.max_length,
        tokens=step.tokens,
        flops=memory.forward_flops + memory.backward_flops + memory.step_flops,
        updates=training.max_steps or training.scheduler_total_steps,
        sent=0,
        disk=_disk(preset, training, memory, corpus),
        corpus=corpus,
        layer=layer * width,
        rest=rest * width,
    )
    return alone.with_spread(spread, accumulation=training.gradient_accumulation_steps)


def task_of(preset: Preset) -> Task:
    """Return the task of a preset.

    Raises:
        UltraError: what its entry point names is not a task.
    """
    entry = tasks.entry(preset.training.task)
    plugin = entry.load()
    if not (isinstance(plugin, type) and issubclass(plugin, Task)):
        raise UltraError(f"{entry.target} is no task; the preset cannot be estimated")
    return plugin(entry.name, entry.distribution)


def _precision(training: TrainingConfig, device: Device) -> Precision:
    if training.precision is not None or not training.use_amp:
        return training.precision or "fp32"
    return "bf16" if device.kind == "cpu" or "bf16" in device.rates or not device.rates else "fp16"


def _disk(preset: Preset, training: TrainingConfig, memory: StepMemory, corpus: int | None) -> Disk:
    copies = 1
    if training.optimizer is not None:
        copies += traits_of(optimizers.get(training.optimizer.optimizer_class)).eval_weights
    checkpoint = copies * memory.weights + memory.state + OTHER_FILES
    kept = training.max_rolling_checkpoints + 1
    kept += training.num_best_checkpoints if training.eval_fraction else 0
    held = DTYPES[training.weights_dtype].itemsize
    saved = DTYPES[training.save_dtype or training.weights_dtype].itemsize
    token = 2 if preset.model is not None and preset.model.vocab_size <= 2**16 else 4
    return Disk(
        checkpoint=checkpoint,
        checkpoints=kept * checkpoint,
        model=memory.weights * saved // held,
        token_cache=None if corpus is None else corpus // BYTES_PER_TOKEN * token,
    )
