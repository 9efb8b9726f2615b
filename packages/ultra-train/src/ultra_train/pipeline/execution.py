"""A pipeline from its preset to its page: its steps in their order, resumed where they were."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from ultra_core.errors import UltraError, listed
from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.pipeline.closing import print_closing_words
from ultra_train.pipeline.evaluation import check_collection, evaluate, is_evaluated
from ultra_train.pipeline.folder import EVALUATION, PipelineFolder
from ultra_train.pipeline.form import PipelinePreset
from ultra_train.pipeline.page import page_of
from ultra_train.pipeline.steps import Step
from ultra_train.run.console import RunConsole
from ultra_train.run.execution import execute
from ultra_train.run.folder import choose_folder, is_run, reserved
from ultra_train.run.resuming import resume_command
from ultra_train.system.processes import processes
from ultra_train.system.run_files import RUNS
from ultra_train.system.signals import Interrupted, Signals


def run_pipeline(
    preset: PipelinePreset,
    *,
    resume: bool = False,
    name: str | None = None,
    output_dir: str | Path | None = None,
    device: str | None = None,
) -> Path:
    """Run the steps of a pipeline, evaluate their models, and return the folder of the pipeline.

    Args:
        preset: the loaded pipeline.
        resume: leave out the steps that are finished, and continue the one that was stopped.
        name: name of the pipeline; by default that of its preset, with a number if it is in use.
        output_dir: folder of runs; ``runs`` by default.
        device: where its steps train; by default the best one of this machine.

    Raises:
        UltraError: an error that a user can correct.
        KeyboardInterrupt: a signal stopped it, after the step that was running had saved a checkpoint.
    """
    here = processes()
    if here.several:
        raise UltraError(
            "a pipeline runs in one process; start it without torchrun or accelerate launch, or train its "
            "steps one by one with them: ultra-train show writes the preset of each"
        )
    if preset.evaluation is not None:
        check_collection(preset.evaluation)
    signals = Signals()
    with signals:
        path = choose_folder(Path(output_dir or RUNS), preset.name, name=name, resume=resume)
        with reserved(path) as keep:
            folder = PipelineFolder(path)
            folder.record(preset)
            keep()
            _Pipeline(preset, folder, RunConsole(signals), device, resume_command(path, here)).run()
    return path


@attrs.frozen
class _Tips:
    """A hook plugin that notes the command to try a finished run with."""

    folder: PipelineFolder

    @hookimpl
    def ultra_run_finished(self, run: Any) -> None:
        """Note the command of a run."""
        if (tip := run.task.tip(run.path)) is not None:
            self.folder.add_tip(run.path.name, tip)


@attrs.frozen
class _Pipeline:
    """A pipeline that runs.

    Attributes:
        preset: its preset.
        folder: its folder.
        console: where it prints.
        device: where its steps train; None for the best device of this machine.
        command: the command that resumes it.
    """

    preset: PipelinePreset
    folder: PipelineFolder
    console: Console
    device: str | None
    command: str

    def run(self) -> None:
        """Run what is left of it."""
        try:
            for number, step in enumerate(self.preset.steps, 1):
                self._say(f"\nstep {number} of {len(self.preset.steps)}: {step.name}")
                self._step(step)
            if (section := self.preset.evaluation) is not None and not is_evaluated(section, self.folder):
                self._say("\nevaluation")
                with self._timed(EVALUATION):
                    evaluate(section, self.folder, self.device, self._say)
        except Interrupted as stop:
            if not stop.message:  # else the run of a step has said it
                stop = Interrupted(self._stopped(stop.name), stop.number)
                self._say(stop.message)
            raise stop from None
        finally:
            page_of(self.preset, self.folder).write(self.folder.report)
        print_closing_words(self.preset, self.folder, self.console)

    def _step(self, step: Step) -> None:
        if self.folder.is_finished(step.name):
            self._say(f"{step.name} is finished")
            if changed := self.folder.changes(step):
                self._say(
                    f"notice: {listed(changed[:8])} changed since, without effect; remove "
                    f"{self.folder.run(step.name)} and the steps that are based on it to train it again"
                )
            return
        base = self.folder.model(step.base) if step.base is not None else None
        with self._timed(step.name), self._tips_noted():
            execute(
                step.load(base, check_files=True),
                resume=is_run(self.folder.run(step.name)),
                name=step.name,
                output_dir=self.folder.path,
                device=self.device,
                resume_command=self.command,
            )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.folder.add_seconds(name, time.monotonic() - began)

    @contextmanager
    def _tips_noted(self) -> Iterator[None]:
        """Note the command that the task of a finished run offers."""
        manager, hooks = plugin_manager(), _Tips(self.folder)
        manager.register(hooks)
        try:
            yield
        finally:
            manager.unregister(hooks)

    def _stopped(self, reason: str) -> str:
        done = sum(self.folder.is_finished(step.name) for step in self.preset.steps)
        return f"{reason}: {done} of {len(self.preset.steps)} steps are finished. Resume with: {self.command}"

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False)
