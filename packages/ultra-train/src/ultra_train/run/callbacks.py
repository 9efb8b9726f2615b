"""The callbacks of a run, in the order in which they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_core.errors import UltraError
from ultra_train.callbacks.csv_table import CsvTable
from ultra_train.callbacks.early_stopping import EarlyStopping
from ultra_train.callbacks.gpu import GpuCallback, HeatLimits
from ultra_train.callbacks.gradients import GradientCallback
from ultra_train.callbacks.hooks import HooksCallback
from ultra_train.callbacks.interrupt import InterruptCallback
from ultra_train.callbacks.memory import MemoryCallback
from ultra_train.callbacks.metrics import MetricsCallback
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.callbacks.nvml import Nvml
from ultra_train.callbacks.progress import ProgressCallback
from ultra_train.callbacks.samples import SamplesCallback
from ultra_train.config.integrations import reporters
from ultra_train.config.training import TrainingConfig
from ultra_train.run.context import Run
from ultra_train.run.device import devices_to_switch_to
from ultra_train.run.process import RunProcess
from ultra_train.run.records import Records
from ultra_train.system import run_files
from ultra_train.system.files import expand_user
from ultra_train.system.owned_files import OwnedFiles


class TooHot(UltraError):
    """The GPU reached its critical temperature; a checkpoint is saved."""

    passing = True


class MovingToAnotherDevice(Exception):
    """The GPU is too hot; a checkpoint is saved, from which the run goes on on another device.

    Args:
        folder: folder of the run.
        device: the other device.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__(folder, device)
        self.folder = folder
        self.device = device


@attrs.define
class Callbacks:
    """The callbacks that a run needs after training."""

    interrupt: InterruptCallback
    progress: ProgressCallback
    gpu: GpuCallback | None = None

    def finish(self) -> None:
        """Release the signal handlers and the terminal."""
        self.progress.stop()
        self.interrupt.release()

    @property
    def reason_to_stop(self) -> str | None:
        """Why the run was stopped before its end, or None."""
        if self.gpu is not None and self.gpu.stopped_at is not None:
            return f"the GPU reached {self.gpu.stopped_at:.0f} C"
        return None if self.interrupt.name is None else f"interrupted by {self.interrupt.name}"


class _AtTheBeginning(TrainerCallback):
    """Calls a function when everything is loaded and the first update begins."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.call()


def add_callbacks(run: Run, process: RunProcess, records: Records) -> Callbacks:
    """Add the callbacks of a run to its trainer, and return those that it needs after training."""
    trainer, training, metrics, plugins = run.trainer, run.training, records.metrics, process.plugins
    interrupt = InterruptCallback(
        trainer, process.signals, process.say if process.console.is_terminal else None
    )
    found = Callbacks(interrupt, ProgressCallback(process.console, run.task.task.progress_metrics))
    trainer.callback_handler.callbacks[1:1] = [HooksCallback(run, plugins, metrics.write)]  # before the flow
    first: list[TrainerCallback] = [
        MemoryCallback(trainer.extra_metrics, process.device),
        SamplesCallback(lambda: run.task.samples(trainer), metrics.write),
    ]
    if training.log_gradient_stats or training.enable_block_grad_norms:
        blocks = training.enable_block_grad_norms
        first.append(
            GradientCallback(trainer.extra_metrics, every=training.gradient_log_interval, blocks=blocks)
        )
    found.gpu = _gpu(training, trainer, process, interrupt)
    if found.gpu is not None:
        first.append(found.gpu)
    first.append(_writer(run, metrics, process.say))
    if training.early_stopping_patience is not None:
        first.append(
            EarlyStopping(
                trainer.settings.retention,
                patience=training.early_stopping_patience,
                threshold=training.early_stopping_threshold,
                history=metrics.read,
                record=records.event,
            )
        )
    first += [c for offered in plugins.hook.ultra_callbacks(run=run) for c in offered]
    last = _AtTheBeginning(lambda: records.events_once(run.task.events()))
    for callback in [*first, interrupt, found.progress, last]:
        trainer.add_callback(callback)
    trainer.callback_handler.callbacks.insert(0, _AtTheBeginning(records.training_begins))
    return found


def _writer(run: Run, metrics: MetricsFile, say: Callable[[str], None]) -> MetricsCallback:
    training, folder, rollbacks = run.training, run.path, run.trainer.settings.rollbacks
    asked = Path(training.csv_log_path or folder / run_files.TABLE)
    drawn = training.logging_dir
    tensorboard = expand_user(drawn) / folder.name if drawn else folder / run_files.TENSORBOARD

    def open_table() -> CsvTable:
        opened = CsvTable.of_run(asked, OwnedFiles(folder), rotate=training.csv_rotate_on_schema_change)
        if opened.path.name != asked.name:
            say(f"notice: {asked} is not of this run; its updates go to {opened.path}")
        return opened

    return MetricsCallback(
        metrics,
        open_table=open_table,
        tensorboard=tensorboard if "tensorboard" in reporters(training.report_to) else None,
        disk=metrics.disk,
        persistent_events=lambda: rollbacks.events,
        notify=say,
    )


def _gpu(
    training: TrainingConfig, trainer: Any, process: RunProcess, interrupt: InterruptCallback
) -> GpuCallback | None:
    device = process.device
    if device.type != "cuda" or training.gpu_metrics_backend == "none":
        return None  # nothing heats up that could be read
    limits = HeatLimits(
        pause=training.gpu_temp_pause_threshold_c,
        resume=training.gpu_temp_resume_threshold_c,
        critical=training.gpu_temp_critical_threshold_c,
        poll_seconds=training.gpu_temp_poll_interval_seconds,
    )
    index, gpu, others = training.nvml_device_index, None, {}
    try:
        gpu = Nvml(index) if index and not trainer.here.several else Nvml.of_device(device)
        others = {
            there: Nvml.of_device(there) for there in devices_to_switch_to(training, device, trainer.here)
        }
    except OSError as error:
        process.say(f"notice: no temperature guard: {error}")
    return GpuCallback(
        gpu,
        limits if training.gpu_temp_guard_enabled else None,
        agreement=trainer.agreement,
        metrics=trainer.extra_metrics,
        notify=process.say,
        record=trainer.settings.on_event,
        stopping=lambda: interrupt.signals.received is not None,
        others=others,
    )
