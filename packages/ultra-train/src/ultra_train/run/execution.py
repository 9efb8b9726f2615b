"""One run from a loaded preset to a finished model: ``execute(preset)``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import torch
from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from ultra_core import tasks
from ultra_core.errors import UltraError, listed
from ultra_core.plugins.hooks import plugin_manager
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import Preset, load_preset, to_tree, to_yaml
from ultra_train.config.integrations import environment
from ultra_train.run import folder as run_folder
from ultra_train.run.arguments import (
    Rate,
    changed_keys,
    check_machine,
    describe_device,
    describe_model,
    pick_device,
    pick_precision,
    training_arguments,
)
from ultra_train.run.callbacks import Callbacks, TooHot, add_callbacks
from ultra_train.run.card import write_card
from ultra_train.run.console import RunConsole
from ultra_train.run.ending import dead_workers_explained, resume_command
from ultra_train.run.model_folder import publish
from ultra_train.run.places import check_apart, check_places
from ultra_train.run.repair import clear_the_way
from ultra_train.run.report import write_report
from ultra_train.system import files
from ultra_train.system.owned_files import OwnedFiles
from ultra_train.system.signals import Interrupted, Signals
from ultra_train.tasks.base import Task
from ultra_train.trainer.checkpoints.folders import Checkpoint, CheckpointError, newest_intact
from ultra_train.trainer.checkpoints.removal import set_aside
from ultra_train.trainer.checkpoints.resume import read_progress, resume_damage
from ultra_train.trainer.checkpoints.retention import RetentionPolicy, make_room
from ultra_train.trainer.guards import Guard
from ultra_train.trainer.optimizers import evaluation_weights
from ultra_train.trainer.plugins import optimizer_builder, schedule
from ultra_train.trainer.rollbacks import Rollbacks
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.stream import EndlessBatches

PACKAGES = ("ultra-core", "ultra-blocks", "ultra-optim", "ultra-train", "torch", "transformers")


@attrs.define(kw_only=True)
class Run:
    """What hooks and callbacks see of a run."""

    path: Path
    config: Preset
    task: Task
    model: Any = None
    trainer: Any = None


def execute(
    preset: Preset,
    *,
    resume: bool = False,
    name: str | None = None,
    output_dir: str | Path | None = None,
    device: str | None = None,
) -> Path:
    """Train what a preset says and return the folder of the run.

    Args:
        preset: from ``ultra_train.config.load_preset``.
        resume: go on from the newest whole checkpoint of the run.
        name: name of the run; the preset's when left out, numbered when that is taken.
        output_dir: folder of runs; ``runs`` when left out.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; the best there is when left out.

    Raises:
        UltraError: whatever a user can mend.
        KeyboardInterrupt: stopped by a signal; a checkpoint is saved.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UltraError(
            "ultra-train run trains in one process so far; start it without torchrun or accelerate launch"
        )
    runs = Path(output_dir or run_folder.RUNS)
    signals = Signals()
    console = RunConsole(signals)
    transformers_logging.set_verbosity_error()
    where = pick_device(device)
    check_machine(preset.training, where)
    os.environ.update(environment(preset.mlflow, preset.training.report_to))
    check_places(preset.training)
    if not resume:
        run_folder.check_unused(preset.training.hf_output_dir)
    manager = plugin_manager()
    manager.hook.ultra_config_loaded(config=preset)
    plugin = tasks.get(preset.training.task)
    folder = run_folder.choose(runs, preset.name, name=name, resume=resume)
    check_apart(preset.training, folder)
    with signals, run_folder.taken(folder) as started:
        if resume:
            started()
        task = plugin(preset, folder, device=where, say=lambda line: console.print(line, markup=False))
        run = Run(path=folder, config=preset, task=task)
        with dead_workers_explained(folder / run_folder.CHECKPOINTS):
            return _Execution(run, console, where, resume, signals, started).go(manager)


class _Execution:
    """The stages of one run."""

    def __init__(
        self,
        run: Run,
        console: Console,
        device: torch.device,
        resume: bool,
        signals: Signals,
        started: Callable[[], None],
    ) -> None:
        self.run = run
        self.console = console
        self.device = device
        self.signals = signals
        self.started = started
        self.metrics = MetricsFile(run.path / run_folder.METRICS)
        self.checkpoints = run.path / run_folder.CHECKPOINTS
        self.checkpoint: Checkpoint | None = None
        if resume:
            self.checkpoint = self._newest()
        self.resume = resume

    def _newest(self) -> Checkpoint | None:
        damaged: list[str] = []
        checkpoint = newest_intact(self.checkpoints, damaged.append, check=resume_damage)
        for line in damaged:
            self._say(line)
        if checkpoint is None and damaged:
            raise CheckpointError(
                f"none of the checkpoints in {self.checkpoints} can be used, so there is nothing to go on "
                "from. Put a copy of one back, or start again without --resume, which takes a new folder."
            )
        return checkpoint

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False)

    def go(self, manager: Any) -> Path:
        """Prepare, train, evaluate, save, tell."""
        run, preset = self.run, self.run.config
        clear_the_way(run.path, self._say)
        self._say(f"run: {run.path} on {describe_device(self.device)}")
        if self.resume:
            self._note_changes()
        if self.checkpoint is None:
            self._record_config()
        run.task.prepare()
        set_seed(preset.training.seed)
        run.model = run.task.build_model()
        manager.hook.ultra_model_built(model=run.model, config=preset)
        self._say(f"model: {describe_model(run.model, pick_precision(preset.training, self.device))}")
        trainer = run.trainer = self._trainer(manager)
        callbacks = add_callbacks(
            trainer,
            run,
            manager,
            metrics=self.metrics,
            console=self.console,
            device=self.device,
            signals=self.signals,
            say=self._say,
        )
        trainer.callback_handler.callbacks.insert(0, _OnceTrainingBegins(self._started))
        trainer.add_callback(_OnceTrainingBegins(self._record_events))
        self._check_room(trainer)
        try:
            trainer.train(resume_from_checkpoint=self._start_point())
        finally:
            callbacks.finish()
        if trainer.state.global_step < trainer.args.max_steps:
            self._stopped(trainer, callbacks)
        metrics = self._final_metrics(trainer)
        publish(self.model_folder, lambda f: self._fill(f, trainer, metrics), OwnedFiles(run.path), self._say)
        write_report(run.path, self.metrics.read(), preset.name)
        manager.hook.ultra_run_finished(run=run)
        self._close(trainer, metrics)
        return run.path

    @property
    def model_folder(self) -> Path:
        """Where the finished model goes."""
        wanted = self.run.config.training.hf_output_dir
        return files.expand_user(wanted).absolute() if wanted else self.run.path / run_folder.MODEL

    def _fill(self, folder: Path, trainer: Any, metrics: Mapping[str, float]) -> None:
        self.run.task.save(trainer, folder)
        write_card(folder, self.run.config, metrics, trainer)

    def _note_changes(self) -> None:
        """Say which keys are others than those that the run was trained with so far."""
        path = (self.checkpoint.path if self.checkpoint else self.run.path) / run_folder.CONFIG
        if not path.exists():
            return
        try:
            before = to_tree(load_preset(path))
        except UltraError as error:
            self._say(f"notice: what has changed since the run began is not known: {error}")
            return
        changed = [k for k in changed_keys(before, to_tree(self.run.config)) if not k.startswith("meta.")]
        if changed:
            self._say(f"notice: other than when the run began: {', '.join(changed)}")
        if any(key.startswith("training.optimizer.") for key in changed):
            self._say("        the optimizer goes on with the hyperparameters that its checkpoint holds")

    def _started(self) -> None:
        self.started()
        self._record_config()

    def _record_config(self) -> None:
        """Write the resolved preset, whole or not at all; on a resumed run once its checkpoint fits it."""
        files.write_text(self.run.path / run_folder.CONFIG, to_yaml(self.run.config))

    def _record_events(self) -> None:
        """Log what the task has to say of its data, once a run."""
        there = {record.get("event") for record in self.metrics.read()}
        for event in self.run.task.events():
            if event["event"] not in there:
                self.metrics.write({"step": 0, **event})

    def _trainer(self, manager: Any) -> Any:
        run, training = self.run, self.run.config.training
        evaluation = run.task.evaluation()
        loader = run.task.loader()
        updates = run.task.steps(loader)
        arguments = training_arguments(
            training,
            device=self.device,
            folder=self.checkpoints,
            max_steps=updates,
            evaluates=evaluation is not None,
        )
        known = read_progress(self.checkpoint.path).get("rollbacks") if self.checkpoint else None
        rollbacks = Rollbacks.read(run.path / run_folder.ROLLBACKS, checkpoint=known, notify=self._say)
        settings = TrainerSettings(
            stream=EndlessBatches(loader, rollbacks.skipped),
            build_optimizer=optimizer_builder(training, updates=updates),
            schedule=schedule(training),
            rollbacks=rollbacks,
            run_folder=run.path,
            guard=Guard(
                threshold=training.inf_post_clip_threshold,
                patience=training.max_nan_retries,
                scan_every=training.nan_check_interval,
            ),
            retention=RetentionPolicy(
                newest=training.max_rolling_checkpoints,
                best=training.num_best_checkpoints if evaluation is not None else 0,
                metric=training.best_metric,
                greater_is_better=not training.best_metric.endswith(("loss", "perplexity")),
            ),
            files={run_folder.CONFIG: to_yaml(self.run.config)},
            facts={"packages": {p: version(p) for p in PACKAGES}, **run.task.facts()},
            storage_budget=_bytes(training.storage_budget_gb),
            on_event=self._event,
            on_saved=lambda path: manager.hook.ultra_checkpoint_saved(run=run, path=path),
        )
        return run.task.trainer_class(
            model=run.model,
            args=arguments,
            settings=settings,
            eval_dataset=evaluation,
            processing_class=run.task.processing_class,
            **run.task.trainer_options(),
        )

    def _event(self, event: Mapping[str, Any]) -> None:
        self.metrics.write(event)
        if event["event"] == "dropped_update":
            where = f"; first in {event['module']}" if event["module"] else ""
            self._say(
                f"update {event['step']} was dropped: {event['reason']}{where} ({event['in_a_row']} in a row)"
            )
        elif event["event"] == "notice":
            self._say(f"notice: {event['text']}")
        elif event["event"] == "unknown_metric":
            self._say(
                f"notice: no best checkpoint is kept, since training.best_metric {event['metric']} is not "
                f"measured; choose one of {listed(event['measured'])}"
            )
        elif event["event"] == "rollback":
            self._say(f"back to the checkpoint of step {event['to_step']}: {event['reason']}")

    def _check_room(self, trainer: Any) -> None:
        weights = sum(p.numel() * p.element_size() for p in self.run.model.parameters())
        retention = trainer.settings.retention
        make_room(
            self.checkpoints,
            3 * weights,
            retention,
            budget=trainer.settings.storage_budget,
            used=self.run.path,
        )

    def _start_point(self) -> str | None:
        if not self.resume:
            return None
        if self.checkpoint is None:
            self._say("no checkpoint was saved yet: the run starts again from its beginning, the same way")
            return None
        set_aside(self.checkpoints, newer_than=self.checkpoint.step)
        self._say(f"resuming after update {self.checkpoint.step}")
        return str(self.checkpoint.path)

    def _stopped(self, trainer: Any, callbacks: Callbacks) -> None:
        """Say how to go on with a run that was stopped; a plugin that stops it ends it as if it were done."""
        reason = callbacks.reason_to_stop
        if reason is None:
            return
        step, most = trainer.state.global_step, trainer.args.max_steps
        message = (
            f"{reason}: stopped after update {step} of {most}, and a checkpoint is saved. Go on with: "
            f"{resume_command(self.run.path)}"
        )
        if self.signals.received is None:
            raise TooHot(message)
        self._say(message)
        raise Interrupted(message, self.signals.received)

    def _final_metrics(self, trainer: Any) -> dict[str, float]:
        if trainer.eval_dataset is None:
            return {}
        step, metrics = trainer.last_evaluation
        if step != trainer.state.global_step:
            metrics = trainer.evaluate()
        return {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float))}

    def _close(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        path = self.run.path
        rate = Rate(tokens=trainer.tokens_seen, seconds=trainer.training_seconds)
        self._say(f"\nTrained {trainer.state.global_step} updates; {rate}")
        if trainer.gate.dropped:
            self._say(f"{trainer.gate.dropped} updates were dropped; {path / run_folder.METRICS} says why")
        with evaluation_weights(trainer.optimizer):
            for words in self.run.task.closing_words(trainer, metrics):
                self.console.print(words, soft_wrap=isinstance(words, str))
        for what, where in self._left_behind():
            self._say(f"  {what:<12} {where}")
        if (tip := self.run.task.tip(path)) is not None:
            self._say(f"Try it: {tip}")

    def _left_behind(self) -> Iterator[tuple[str, Path]]:
        path = self.run.path
        yield "model", self.model_folder
        yield "report", path / run_folder.REPORT
        yield "metrics", path / run_folder.METRICS
        yield "checkpoints", path / run_folder.CHECKPOINTS
        yield "preset", path / run_folder.CONFIG


class _OnceTrainingBegins(TrainerCallback):
    """Calls a function when everything is loaded and the first update begins."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.call()


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)


__all__ = ["Interrupted", "Run", "UltraError", "execute"]
