"""What a run is asked for, and where it will be."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import attrs

from ultra_train.config import Preset, TrainingConfig
from ultra_train.run.folder import check_unused, choose_folder, is_run
from ultra_train.run.folder_lock import RunFolderError
from ultra_train.run.output_paths import check_no_overlap, check_output_paths
from ultra_train.system import files, run_files
from ultra_train.tasks.base import Task
from ultra_train.tasks.loading import load_task
from ultra_train.trainer.checkpoints.folders import list_checkpoints


@attrs.frozen(kw_only=True, slots=False)
class Request:
    """What a run is asked for.

    Attributes:
        preset: the loaded preset.
        runs: folder of runs; None for that of the preset, or ``runs``.
        resume: whether it continues from the newest intact checkpoint.
        name: name of the run; None for that of the preset, with a number if it is in use.
        device: the device; None for that of the preset, or the best one of this machine.
        fit_memory: whether micro-batches are divided when memory runs out.
        resume_command: the command that resumes it; None for one like that of this process.
    """

    preset: Preset
    runs: Path | None = None
    resume: bool = False
    name: str | None = None
    device: str | None = None
    fit_memory: bool = False
    resume_command: str | None = None

    @cached_property
    def task(self) -> Task:
        """The task of the preset."""
        return load_task(self.preset.task)

    @property
    def training(self) -> TrainingConfig:
        """The keys that the stages of the run read."""
        return self.task.training_keys(self.preset)

    @property
    def place(self) -> Path:
        """The folder of the run if the command names none and it is not in use."""
        asked = self.task.run_folder(self.preset) if self.runs is None else None
        return files.expand_user(asked) if asked else (self.runs or Path(run_files.RUNS)) / self.preset.name

    @property
    def where(self) -> str | None:
        """The device that is asked for, on the command line or else in the preset."""
        return self.device or self.task.device(self.preset)

    def as_preset_says(self) -> Request:
        """Return the request, resumed if the preset itself asks for that.

        Raises:
            RunFolderError: it names a checkpoint that is not the newest one of a run.
        """
        asked = self.task.resumes(self.preset)
        if self.resume or not asked:
            return self
        if asked is True:
            return attrs.evolve(self, resume=is_run(self.place.parent / (self.name or self.place.name)))
        checkpoint = files.expand_user(asked)
        run = checkpoint.parent.parent if checkpoint.parent.name == run_files.CHECKPOINTS else checkpoint
        newest = list_checkpoints(run / run_files.CHECKPOINTS)
        if checkpoint != run and newest and newest[0].path.resolve() != checkpoint.resolve():
            raise RunFolderError(
                f"{checkpoint} is not the newest checkpoint of its run, {newest[0].path}; a run resumes from "
                "the newest. Remove those after it, or name the folder of the run."
            )
        return attrs.evolve(self, resume=True, runs=run.parent, name=run.name)

    def choose_folder(self) -> Path:
        """Return the folder of the run, once every path that it will write to is known to be usable.

        Raises:
            RunFolderError: one of them is in use, or cannot be written.
        """
        training = self.training
        check_output_paths(training)
        if not self.resume:
            check_unused(training.hf_output_dir)
        place = self.place
        folder = choose_folder(place.parent, place.name, name=self.name, resume=self.resume)
        check_no_overlap(training, folder)
        return folder
