"""The first stage of a run: what it says at its beginning, its texts, its model."""

from __future__ import annotations

from transformers import set_seed

from ultra_train.hf.compilation import compile_encoder
from ultra_train.run.context import Run
from ultra_train.run.device import describe_device, describe_model, idle_keys, pick_precision
from ultra_train.run.obstructions import set_aside_obstructions
from ultra_train.run.process import RunProcess
from ultra_train.run.pushing import check_token
from ultra_train.run.records import Records
from ultra_train.run.resuming import newest_checkpoint, print_changed_keys
from ultra_train.run.sameness import check_same_data
from ultra_train.run.strategy import describe_strategy
from ultra_train.trainer.checkpoints.folders import Checkpoint


def find_checkpoint(run: Run, process: RunProcess) -> Checkpoint | None:
    """Return the checkpoint that a run resumes from, on all processes; None for its beginning."""
    wanted = process.request.resume and process.main
    found: Checkpoint | None = process.here.share(
        newest_checkpoint(run.path, process.say) if wanted else None
    )
    return found


def introduce(run: Run, process: RunProcess, checkpoint: Checkpoint | None) -> None:
    """Print where and how a run trains, and what of its preset has changed or has no effect."""
    training, here, say = run.training, process.here, process.say
    if process.main:
        set_aside_obstructions(run.path, say)
    say(f"run: {run.path} on {describe_device(process.device)}")
    if here.several:
        say(f"processes: {describe_strategy(training, here, process.device)}")
    for notice in idle_keys(training, process.device, here):
        say(f"notice: {notice}")
    check_token(training, run.path, say)
    if process.request.resume:
        print_changed_keys(run.path, run.config, checkpoint, say)


def prepare_data(run: Run, process: RunProcess, records: Records) -> None:
    """Prepare the tokenizer and the texts; when the disk was full, go on with what is cached by then.

    Several processes prepare together, and fail together.
    """
    if process.here.several:
        run.task.prepare()
        check_same_data(process.here, run.task.facts())
    else:
        records.disk.write(run.task.prepare, "the tokenizer and the tokenised texts", run.path)


def build_model(run: Run, process: RunProcess) -> None:
    """Build or load the model, and compile it if the preset says so."""
    training = run.training
    set_seed(training.seed)
    run.model = run.task.build_model()
    process.plugins.hook.ultra_model_built(model=run.model, config=run.config)
    process.say(f"model: {describe_model(run.model, pick_precision(training, process.device))}")
    if training.compile:
        run.graphs = compile_encoder(run.model)
