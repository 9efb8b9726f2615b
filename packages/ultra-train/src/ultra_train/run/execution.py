"""The execution of a run, from a loaded preset to a finished model."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from ultra_core.errors import UltraError
from ultra_core.plugins.hooks import plugin_manager
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import Preset, to_tree, to_yaml
from ultra_train.config.integrations import environment
from ultra_train.hf.compilation import compile_encoder
from ultra_train.report.run_page import write_report
from ultra_train.run.callbacks import Callbacks, MovingToAnotherDevice, TooHot, add_callbacks
from ultra_train.run.card import write_card
from ultra_train.run.closing import final_metrics, print_closing_words
from ultra_train.run.console import RunConsole
from ultra_train.run.context import Run
from ultra_train.run.dead_workers import dead_workers_explained
from ultra_train.run.device import (
    check_machine,
    describe_device,
    describe_model,
    idle_keys,
    pick_device,
    pick_precision,
)
from ultra_train.run.events import EventLog
from ultra_train.run.facts import RunFacts
from ultra_train.run.folder import check_unused, choose_folder, reserved_for_all
from ultra_train.run.memory_explained import out_of_memory_explained
from ultra_train.run.model_folder import publish
from ultra_train.run.obstructions import set_aside_obstructions
from ultra_train.run.output_paths import check_no_overlap, check_output_paths
from ultra_train.run.pushing import check_token, pushed
from ultra_train.run.resuming import newest_checkpoint, print_changed_keys, resume_command, start_point
from ultra_train.run.sameness import check_same_data, check_same_settings
from ultra_train.run.strategy import describe_strategy, pick_strategy
from ultra_train.run.trainer_setup import build_trainer, check_room
from ultra_train.system import files, run_files
from ultra_train.system.disk_space import DiskSpace
from ultra_train.system.heap import keep_freed_memory
from ultra_train.system.owned_files import OwnedFiles
from ultra_train.system.process_group import Group, join
from ultra_train.system.processes import Processes, processes
from ultra_train.system.signals import Interrupted, Signals
from ultra_train.tasks.loading import load_task
from ultra_train.trainer.agreement import Agreement
from ultra_train.trainer.fully_sharded import load_on_every_process

__all__ = ["Interrupted", "Run", "UltraError", "execute"]


def execute(
    preset: Preset,
    *,
    resume: bool = False,
    name: str | None = None,
    output_dir: str | Path | None = None,
    device: str | None = None,
    fit_memory: bool = False,
) -> Path:
    """Train from a loaded preset and return the folder of the run.

    Args:
        preset: from ``ultra_train.config.load_preset``.
        resume: continue from the newest intact checkpoint of the run.
        name: name of the run; by default that of the preset, with a number if it is in use.
        output_dir: folder of runs; ``runs`` by default.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default the best one of this machine.
        fit_memory: divide micro-batches by rows when memory runs out, instead of ending the run.

    Raises:
        UltraError: an error that a user can correct.
        KeyboardInterrupt: a signal stopped the run, after it had saved a checkpoint.
    """
    group, runs = join(processes()), Path(output_dir or run_files.RUNS)
    with group.failing_together():
        while True:
            try:
                return _execute(preset, group, resume, name, runs, device, fit_memory)
            except MovingToAnotherDevice as move:  # the former device is only free without its traceback
                resume, name, device = True, move.folder.name, str(move.device)
            gc.collect()


def _execute(
    preset: Preset,
    group: Group,
    resume: bool,
    name: str | None,
    runs: Path,
    device: str | None,
    fit_memory: bool,
) -> Path:
    training, here = preset.training, group.here
    signals = Signals()
    console = RunConsole(signals, quiet=not here.main)
    transformers_logging.set_verbosity_error()
    where = pick_device(device, here)
    check_machine(training, where)
    if where.type == "cpu":
        keep_freed_memory()
    if here.several:
        if pick_strategy(training) == "fsdp":
            load_on_every_process()
        group.open(where.type)
    check_same_settings(here, {"--resume": resume, "--fit-memory": fit_memory, **to_tree(preset)})
    os.environ.update(environment(preset.mlflow, training.report_to))
    hooks = plugin_manager()
    hooks.hook.ultra_config_loaded(config=preset)
    task = load_task(training.task)

    def choose() -> Path:
        check_output_paths(training)
        if not resume:
            check_unused(training.hf_output_dir)
        folder = choose_folder(runs, preset.name, name=name, resume=resume)
        check_no_overlap(training, folder)
        return folder

    with signals, reserved_for_all(here, choose) as (folder, started):
        if resume:
            started()
        task_run = task.start(
            preset, folder, device=where, say=lambda line: console.print(line, markup=False)
        )
        run = Run(path=folder, config=preset, task=task_run, fit_memory=fit_memory)
        checkpoints = folder / run_files.CHECKPOINTS
        with dead_workers_explained(checkpoints), out_of_memory_explained(checkpoints):
            return _Execution(run, here, console, where, resume, signals, started, hooks).execute()


class _Execution:
    """The stages of one run, whose first process holds the lock of its folder, and alone writes into it."""

    def __init__(
        self,
        run: Run,
        here: Processes,
        console: RunConsole,
        device: torch.device,
        resume: bool,
        signals: Signals,
        started: Callable[[], None],
        hooks: Any,
    ) -> None:
        self.run = run
        self.here = here
        self.console = console
        self.device = device
        self.resume = resume
        self.signals = signals
        self.started = started
        self.hooks = hooks
        agreement = Agreement(here)
        self.disk = DiskSpace(
            self.say, signals=signals, agree=lambda seen: bool(agreement.largest(float(seen))[0])
        )
        self.metrics = MetricsFile(run.path / run_files.METRICS, self.disk)
        self.events = EventLog(self.metrics, self.say)
        self.facts = RunFacts(run.path)
        self.checkpoint = here.share(newest_checkpoint(run.path, self.say) if resume and here.main else None)

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False)

    def execute(self) -> Path:
        """Prepare, train, evaluate, save and report."""
        run = self.run
        self._begin()
        self._prepare()
        self._build_model()
        callbacks = self._build_trainer()
        with self._end_recorded(callbacks):
            self._train(callbacks)
            metrics = final_metrics(run.trainer)
            run.trainer.unshard()
            run.model = run.trainer.model
            self._publish(metrics)
        with self._pushed():  # it ends after the others, which cannot wait for it as long as it may take
            self._report()
            if self.here.main:
                self.hooks.hook.ultra_run_finished(run=run)
                print_closing_words(run, self.model_folder, metrics, self.console)
            self.here.wait()  # so that all fail when the first process does
        return run.path

    def _train(self, callbacks: Callbacks) -> None:
        """Train to the end.

        Raises:
            UltraError: a callback stopped the run.
            Interrupted: a signal did.
        """
        trainer = self.run.trainer
        try:
            trainer.train(resume_from_checkpoint=self._start_point())
        finally:
            callbacks.finish()
        if trainer.state.global_step < trainer.args.max_steps:
            self._stopped(callbacks)

    @contextmanager
    def _end_recorded(self, callbacks: Callbacks) -> Iterator[None]:
        """Record how this part of the run ends."""
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # a full disk must not replace the reason
                self._record_end(callbacks.reason_to_stop or f"{type(error).__name__}: {error}")
            raise
        self._write(lambda: self._record_end("finished"), run_files.FACTS)

    def _record_end(self, outcome: str) -> None:
        trainer = self.run.trainer
        step, tokens = trainer.state.global_step, trainer.tokens_seen
        self.facts.end(step=step, outcome=outcome, tokens=tokens, seconds=trainer.training_seconds)

    def _pushed(self) -> AbstractContextManager[Any]:
        training = self.run.config.training
        return (
            pushed(training, self.run.path, self.model_folder, self.say) if self.here.main else nullcontext()
        )

    def _report(self) -> None:
        """Write the report."""
        path = self.run.path

        def write() -> None:
            self.metrics.flush()  # lines that found the disk full
            write_report(path)

        self._write_together(write, "the report", path)

    def _write_together(self, write: Callable[[], object], what: str, folder: Path, need: int = 0) -> None:
        """Write something on the first process, while the others wait if the disk is full."""
        self.disk.write_together(write if self.here.main else lambda: None, what, folder, need)

    def _write(self, write: Callable[[], object], what: str) -> None:
        """Write a file of the run; wait for room when the disk is full."""
        self.disk.write(write, what, self.run.path)

    def _publish(self, metrics: Mapping[str, float]) -> None:
        """Write the finished model into its folder."""
        run, folder = self.run, self.model_folder
        weights = sum(p.numel() * p.element_size() for p in run.model.parameters())
        self._write_together(
            lambda: publish(folder, lambda where: self._fill(where, metrics), OwnedFiles(run.path), self.say),
            "the finished model",
            folder,
            weights,
        )

    def _begin(self) -> None:
        run = self.run
        if self.here.main:
            set_aside_obstructions(run.path, self.say)
        self.say(f"run: {run.path} on {describe_device(self.device)}")
        if self.here.several:
            self.say(f"processes: {describe_strategy(run.config.training, self.here, self.device)}")
        for notice in idle_keys(run.config.training, self.device, self.here):
            self.say(f"notice: {notice}")
        check_token(run.config.training, run.path, self.say)
        if self.resume:
            print_changed_keys(run.path, run.config, self.checkpoint, self.say)
        if self.checkpoint is None:
            self._record_config()

    def _prepare(self) -> None:
        """Prepare the tokenizer and the texts; when the disk was full, go on with what is cached by then.

        Several processes prepare together, and fail together.
        """
        if self.here.several:
            self.run.task.prepare()
            check_same_data(self.here, self.run.task.facts())
        else:
            self._write(self.run.task.prepare, "the tokenizer and the tokenised texts")

    def _build_model(self) -> None:
        run, training = self.run, self.run.config.training
        set_seed(training.seed)
        run.model = run.task.build_model()
        self.hooks.hook.ultra_model_built(model=run.model, config=run.config)
        self.say(f"model: {describe_model(run.model, pick_precision(training, self.device))}")

    def _build_trainer(self) -> Callbacks:
        run = self.run
        if run.config.training.compile:
            run.graphs = compile_encoder(run.model)
        run.trainer = build_trainer(
            run,
            here=self.here,
            device=self.device,
            checkpoint=self.checkpoint,
            disk=self.disk,
            on_event=self.events if self.here.main else _ignore,
            on_saved=lambda path: self.hooks.hook.ultra_checkpoint_saved(run=run, path=path),
            say=self.say,
        )
        if run.graphs is not None:
            run.graphs.metrics = run.trainer.extra_metrics
        callbacks = add_callbacks(
            run.trainer,
            run,
            self.hooks,
            metrics=self.metrics,
            console=self.console,
            device=self.device,
            signals=self.signals,
            say=self.say,
        )
        run.trainer.callback_handler.callbacks.insert(0, _OnceTrainingBegins(self._training_begins))
        if self.here.main:
            run.trainer.add_callback(_OnceTrainingBegins(lambda: self.events.write_once(run.task.events())))
            check_room(run)
        return callbacks

    def _training_begins(self) -> None:
        """Keep the folder; record how it is trained, and the preset, which fits the checkpoint by now."""
        self.started()
        self._record_config()
        if self.here.main:
            self._write(self._record_beginning, run_files.FACTS)

    def _record_beginning(self) -> None:
        run = self.run
        precision = pick_precision(run.config.training, self.device)
        step = run.trainer.state.global_step
        self.facts.begin(step=step, model=run.model, device=self.device, precision=precision)

    def _record_config(self) -> None:
        path, text = self.run.path / run_files.CONFIG, to_yaml(self.run.config)
        if self.here.main:
            self._write(lambda: files.write_text(path, text), path.name)

    def _start_point(self) -> str | None:
        if not self.resume:
            return None
        return self.here.share(
            start_point(self.run.path, self.checkpoint, self.say) if self.here.main else None
        )

    @property
    def model_folder(self) -> Path:
        """The folder of the finished model."""
        wanted = self.run.config.training.hf_output_dir
        return files.expand_user(wanted).absolute() if wanted else self.run.path / run_files.MODEL

    def _fill(self, folder: Path, metrics: Mapping[str, float]) -> None:
        self.run.task.save(self.run.trainer, folder)
        write_card(folder, self.run.config, self.run.task.task.card, metrics, self.run.trainer)

    def _stopped(self, callbacks: Callbacks) -> None:
        """Raise with the command to resume if the run was stopped; if a plugin stopped it, it is finished."""
        gpu = callbacks.gpu
        if gpu is not None and gpu.moving_to is not None and callbacks.interrupt.number is None:
            raise MovingToAnotherDevice(self.run.path, gpu.moving_to)
        reason = next(filter(None, self.here.gather(callbacks.reason_to_stop)), None)
        if reason is None:
            return
        trainer = self.run.trainer
        message = (
            f"{reason}: stopped after update {trainer.state.global_step} of {trainer.args.max_steps}, and a "
            f"checkpoint is saved. Resume with: {resume_command(self.run.path, self.here)}"
        )
        number = callbacks.interrupt.number
        if number is None:
            raise TooHot(message)
        self.say(message)
        raise Interrupted(message, number)


def _ignore(event: Mapping[str, Any]) -> None:
    """Leave an event to the first process."""


class _OnceTrainingBegins(TrainerCallback):
    """Calls a function when everything is loaded and the first update begins."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.call()
