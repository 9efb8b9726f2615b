"""Pushes of the models of checkpoints beside the training, which they can neither stop nor fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ultra_core.plugins.hooks import hookimpl
from ultra_train.hub.push_process import Answer, PushProcess
from ultra_train.run.context import Run
from ultra_train.run.process import RunProcess
from ultra_train.run.pushing import repository_name
from ultra_train.system import files
from ultra_train.trainer.checkpoints.model_files import model_files

PREFIX = ".push-"
"""Of the folder in a run with the files that are pushed."""


@contextmanager
def checkpoints_pushed(run: Run, process: RunProcess) -> Iterator[None]:
    """Push the models of checkpoints while the block runs, if the preset asks for pushes."""
    training = run.training
    if not (process.main and training.push_to_hub and training.hub_strategy == "every_save"):
        yield
        return
    pushes = CheckpointPushes(
        run, repository_name(training, run.path), process.say, private=training.hub_private_repo
    )
    process.plugins.register(pushes)
    try:
        yield
    finally:
        process.plugins.unregister(pushes)
        pushes.end()


class CheckpointPushes:
    """A plugin that pushes the model of every checkpoint of a run, one at a time.

    A checkpoint that is saved while a push lasts is not pushed, since a newer one follows. The files are hard
    links in a folder of their own, because a checkpoint may be removed while its push lasts.

    Args:
        run: the run whose checkpoints are pushed.
        repository: ``owner/name``, or ``name``.
        say: prints a line; a failure is said when its reason is not that of the one before.
        private: whether the repository is private when it is made; None: as the hub decides.
    """

    def __init__(
        self, run: Run, repository: str, say: Callable[[str], None], *, private: bool | None = None
    ) -> None:
        self.run = run
        self.repository = repository
        self.say = say
        self.private = private
        self._push: PushProcess | None = None
        self._folder: Path | None = None
        self._said: Answer = {}
        for left in run.path.glob(f"{PREFIX}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    @hookimpl
    def ultra_checkpoint_saved(self, run: Run, path: Path) -> None:
        """Start to push the model of a checkpoint, unless the finished one follows at once."""
        last = run.trainer.state.global_step >= run.trainer.args.max_steps
        if run is not self.run or last or (self._push is not None and not self._push.ended):
            return
        self._collect()
        try:
            self._folder = _linked(path, files.new_folder(run.path, PREFIX))
            message = f"Update {run.trainer.state.global_step} of {run.trainer.args.max_steps}"
            self._push = PushProcess(self._folder, self.repository, message, private=self.private)
        except OSError as error:
            self._report({"error": str(error)})

    def end(self) -> None:
        """End a push that lasts, and remove its files."""
        if self._push is not None and not self._push.ended:
            self._push.end()
            self._push = None
        self._collect()

    def _collect(self) -> None:
        """Say how the last push ended, and remove its files."""
        if self._push is not None:
            self._report(self._push.answer())
            self._push = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _report(self, answer: Answer) -> None:
        if "error" in answer and answer != self._said:
            self.say(
                f"notice: the model of a checkpoint was not pushed to {self.repository}: "
                f"{answer['error'].rstrip('.')}. The next checkpoint is tried again"
            )
        self._said = answer


def _linked(checkpoint: Path, folder: Path) -> Path:
    """Link the files of a checkpoint's model into a folder, or copy them where links are not possible."""
    for path in model_files(checkpoint):
        place = folder / path.relative_to(checkpoint)
        place.parent.mkdir(exist_ok=True, parents=True)
        try:
            os.link(path, place)
        except OSError:
            shutil.copyfile(path, place)
    return folder
