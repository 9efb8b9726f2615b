"""What a run is asked for, and where it will be."""

from __future__ import annotations

from pathlib import Path

import attrs

from ultra_train.config import Preset, TrainingConfig
from ultra_train.run.folder import check_unused, choose_folder, is_run
from ultra_train.run.folder_lock import RunFolderError
from ultra_train.run.output_paths import check_no_overlap, check_output_paths
from ultra_train.system.files import expand_user
from ultra_train.system.run_files import CHECKPOINTS
from ultra_train.tasks.loading import load_task
from ultra_train.trainer.checkpoints.folders import list_checkpoints


@attrs.frozen(kw_only=True)
class Request:
    """What a run is asked for.

    Attributes:
        preset: the loaded preset.
        runs: folder of runs.
        resume: whether it continues from the newest intact checkpoint.
        name: name of the run; None for that of the preset, with a number if it is in use.
        device: the device; None for the best one of this machine.
        fit_memory: whether micro-batches are divided when memory runs out.
        resume_command: the command that resumes it; None for one like that of this process.
    """

    preset: Preset
    runs: Path
    resume: bool = False
    name: str | None = None
    device: str | None = None
    fit_memory: bool = False
    resume_command: str | None = None

    @property
    def training(self) -> TrainingConfig:
        """The keys that the stages of the run read."""
        return load_task(self.preset.task).training_keys(self.preset)

    def as_preset_says(self) -> Request:
        """Return the request, resumed if the preset itself asks for that.

        Raises:
            RunFolderError: it names a checkpoint that is not the newest one of a run.
        """
        asked = load_task(self.preset.task).resumes(self.preset)
        if self.resume or not asked:
            return self
        if asked is True:
            return attrs.evolve(self, resume=is_run(self.runs / (self.name or self.preset.name)))
        checkpoint = expand_user(asked)
        run = checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else checkpoint
        newest = list_checkpoints(run / CHECKPOINTS)
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
        folder = choose_folder(self.runs, self.preset.name, name=self.name, resume=self.resume)
        check_no_overlap(training, folder)
        return folder
