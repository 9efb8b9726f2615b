"""The second stage of a run: training, until its end or until something stops it."""

from __future__ import annotations

from ultra_train.run.callbacks import Callbacks, MovingToAnotherDevice, TooHot
from ultra_train.run.context import Run
from ultra_train.run.process import RunProcess
from ultra_train.run.records import Records
from ultra_train.run.resuming import resume_command, start_point
from ultra_train.system.signals import Interrupted
from ultra_train.trainer.checkpoints.folders import Checkpoint


def train(
    run: Run, process: RunProcess, records: Records, callbacks: Callbacks, checkpoint: Checkpoint | None
) -> None:
    """Train to the end, from a checkpoint or from the beginning.

    Raises:
        TooHot: the GPU was too hot.
        MovingToAnotherDevice: it was, and there is another one.
        Interrupted: a signal stopped the run.
    """
    trainer = run.trainer
    try:
        trainer.train(resume_from_checkpoint=_start_point(run, process, checkpoint))
    finally:
        callbacks.finish()
    if trainer.state.global_step < trainer.args.max_steps:
        _stopped(run, process, records, callbacks)


def _start_point(run: Run, process: RunProcess, checkpoint: Checkpoint | None) -> str | None:
    if not process.request.resume:
        return None
    found: str | None = process.here.share(
        start_point(run.path, checkpoint, process.say) if process.main else None
    )
    return found


def _stopped(run: Run, process: RunProcess, records: Records, callbacks: Callbacks) -> None:
    """Raise with the command to resume if the run was stopped; if a plugin stopped it, it is finished."""
    number, gpu, trainer = callbacks.interrupt.number, callbacks.gpu, run.trainer
    if gpu is not None and gpu.moving_to is not None and number is None:
        raise MovingToAnotherDevice(run.path, gpu.moving_to)
    reason = next(filter(None, process.here.gather(callbacks.reason_to_stop)), None)
    if reason is None:
        return
    command = process.request.resume_command or resume_command(run.path, process.here)
    message = (
        f"{reason}: stopped after update {trainer.state.global_step} of {trainer.args.max_steps}, and a "
        f"checkpoint is saved. Resume with: {command}"
    )
    if number is not None:
        process.say(message)
    records.report_of_stop(reason)
    if number is None:
        raise TooHot(message)
    raise Interrupted(message, number)
