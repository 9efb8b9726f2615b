"""The execution of a run, from a loaded preset to a finished model: its stages in their order."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import attrs

from ultra_core.errors import UltraError
from ultra_train.config import Preset
from ultra_train.run.callbacks import MovingToAnotherDevice
from ultra_train.run.checkpoint_pushes import checkpoints_pushed
from ultra_train.run.context import Run
from ultra_train.run.dead_workers import dead_workers_explained
from ultra_train.run.finishing import finish, save_model
from ultra_train.run.folder import reserved_for_all
from ultra_train.run.memory_explained import out_of_memory_explained
from ultra_train.run.preparation import build_model, find_checkpoint, introduce, prepare_data
from ultra_train.run.process import RunProcess, set_up_process
from ultra_train.run.records import Records
from ultra_train.run.request import Request
from ultra_train.run.trainer_setup import set_up_trainer
from ultra_train.run.training import train
from ultra_train.system import run_files
from ultra_train.system.process_group import Group, join
from ultra_train.system.processes import processes
from ultra_train.system.signals import Interrupted

__all__ = ["Interrupted", "Run", "UltraError", "execute"]


def execute(
    preset: Preset,
    *,
    resume: bool = False,
    name: str | None = None,
    output_dir: str | Path | None = None,
    device: str | None = None,
    fit_memory: bool = False,
    resume_command: str | None = None,
) -> Path:
    """Train from a loaded preset and return the folder of the run.

    Args:
        preset: from ``ultra_train.config.load_preset``.
        resume: continue from the newest intact checkpoint of the run.
        name: name of the run; by default that of the preset, with a number if it is in use.
        output_dir: folder of runs; by default that of the preset, or ``runs``.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default that of the preset, or the best one of
            this machine.
        fit_memory: divide micro-batches by rows when memory runs out, instead of ending the run.
        resume_command: the command that resumes it, for messages; by default one like that of this process.

    Raises:
        UltraError: an error that a user can correct.
        KeyboardInterrupt: a signal stopped the run, after it had saved a checkpoint.
    """
    request = Request(
        preset=preset,
        runs=Path(output_dir) if output_dir is not None else None,
        resume=resume,
        name=name,
        device=device,
        fit_memory=fit_memory,
        resume_command=resume_command,
    ).as_preset_says()
    group = join(processes())
    with group.failing_together():
        while True:
            try:
                return _execute(request, group)
            except MovingToAnotherDevice as move:  # the former device is only free without its traceback
                name, device = move.folder.name, str(move.device)
                request = attrs.evolve(request, resume=True, name=name, device=device)
            gc.collect()


def _execute(request: Request, group: Group) -> Path:
    process = set_up_process(request, group)
    task = request.task
    with (
        process.signals,
        reserved_for_all(process.here, request.choose_folder) as (folder, keep),
    ):
        if request.resume:
            keep()
        started = task.start(request.preset, folder, device=process.device, say=process.say)
        run = Run(path=folder, config=request.preset, task=started, fit_memory=request.fit_memory)
        checkpoints = folder / run_files.CHECKPOINTS
        with dead_workers_explained(checkpoints), out_of_memory_explained(checkpoints):
            _stages(run, process, keep)
    return folder


def _stages(run: Run, process: RunProcess, keep: Callable[[], None]) -> None:
    """Prepare, train, save and report.

    Args:
        run: the run, in its folder.
        process: this process of it.
        keep: called when training begins; from then on the folder stays, however the run ends.
    """
    records = Records(run, process, keep)
    checkpoint = find_checkpoint(run, process)
    introduce(run, process, checkpoint)
    if checkpoint is None:
        records.config()
    prepare_data(run, process, records)
    build_model(run, process)
    callbacks = set_up_trainer(run, process, records, checkpoint)
    with records.end_recorded(lambda: callbacks.reason_to_stop):
        with checkpoints_pushed(run, process):
            train(run, process, records, callbacks, checkpoint)
        metrics = save_model(run, process, records)
    finish(run, process, records, metrics)
