"""Running the trials of a plan, one after the other, each in a process of its own."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import attrs

from ultra_core.errors import UltraError
from ultra_train.compare.folder import ComparisonFolder
from ultra_train.compare.plan import Plan, Trial
from ultra_train.compare.trial import START, STOPPED, Order, run_trial
from ultra_train.system import files
from ultra_train.system.run_files import CHECKPOINTS
from ultra_train.system.signals import Interrupted, Signals

_POLL_SECONDS = 0.2


class Stopped(UltraError):
    """A trial stopped for a reason that holds for all of them and passes by: heat, a full disk."""

    passing = True


class Watcher(Protocol):
    """Shows how the trials are going."""

    def started(self, trial: Trial, number: int, count: int) -> None:
        """A trial was started; numbers count from 1."""
        ...

    def watch(self) -> None:
        """A moment has passed."""
        ...

    def ended(self, trial: Trial, record: dict[str, Any]) -> None:
        """A trial has left its record."""
        ...


@attrs.frozen
class TrialRunner:
    """Runs the trials that have no record yet.

    Attributes:
        folder: the folder of the comparison.
        signals: those of this process; the first one is passed on, and ends the comparison in order.
        watcher: shows how it is going.
        device: where trials are trained.
    """

    folder: ComparisonFolder
    signals: Signals
    watcher: Watcher
    device: str | None = None

    def run_all(self, plan: Plan, command: str) -> None:
        """Run all trials of a plan that are left.

        Args:
            plan: the plan.
            command: the command that continues the comparison.

        Raises:
            Interrupted: a signal stopped it; the trial that was running has saved a checkpoint.
            Stopped: a trial stopped for a reason that concerns all of them.
        """
        if START == "fork":
            import ultra_train.run.execution  # noqa: F401  once, for all forks
        for number, trial in enumerate(plan.trials, 1):
            if self.folder.result(trial).is_file():
                continue
            self.watcher.started(trial, number, len(plan.trials))
            code = self._run(trial, plan)
            stopped = self.signals.received
            if self.folder.result(trial).is_file():
                self._tidy(trial)
            elif stopped is None and code > 128:
                stopped = code - 128  # the signal was sent to the trial alone
            if stopped is not None:
                raise Interrupted(self._continuation(plan, command, signal.Signals(stopped).name), stopped)
            if code == STOPPED:
                raise Stopped(self._continuation(plan, command, self._last_words(trial)))
            if not self.folder.result(trial).is_file():
                self._record_death(trial, code)
            self.watcher.ended(trial, files.read_json(self.folder.result(trial)))

    def _run(self, trial: Trial, plan: Plan) -> int:
        """Run one trial and return the exit code of its process, -n after signal n."""
        folder = self.folder
        order = Order(
            name=trial.name,
            preset=folder.preset(trial),
            runs=folder.runs,
            result=folder.result(trial),
            output=folder.output(trial),
            budget=plan.budget,
            device=self.device,
        )
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        context: Any = multiprocessing.get_context(START)
        process = context.Process(target=run_trial, args=(order,), name=trial.name)
        gc.freeze()  # else a collection in the child would copy everything that was imported
        try:
            process.start()
        finally:
            gc.unfreeze()
        try:
            self._wait(process)
        except BaseException:  # a second signal, or an error of ours
            process.kill()
            process.join()
            raise
        return int(process.exitcode or 0)

    def _wait(self, process: BaseProcess) -> None:
        passed_on = False
        while process.is_alive():
            process.join(_POLL_SECONDS)
            if self.signals.received is not None and not passed_on and process.pid is not None:
                passed_on = True
                if process.is_alive():
                    os.kill(process.pid, self.signals.received)
            self.watcher.watch()

    def _tidy(self, trial: Trial) -> None:
        """Remove the checkpoints of a finished run, which nothing continues from any more."""
        if files.read_json(self.folder.result(trial)).get("status") == "finished":
            shutil.rmtree(self.folder.run(trial) / CHECKPOINTS, ignore_errors=True)

    def _record_death(self, trial: Trial, code: int) -> None:
        """Record a trial whose process died without a word."""
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        memory = "; the system does this when memory runs out" if code == -signal.SIGKILL else ""
        record = {"status": "failed", "reason": f"its process was ended by {name}{memory}"}
        files.write_text(self.folder.result(trial), json.dumps(record, indent=1))

    def _last_words(self, trial: Trial) -> str:
        lines = self.folder.output(trial).read_text("utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "a run stopped"

    def _continuation(self, plan: Plan, command: str, reason: str) -> str:
        done = sum(self.folder.result(trial).is_file() for trial in plan.trials)
        return (
            f"{reason}: {done} of {len(plan.trials)} runs are finished; the one that was running has saved "
            f"what it had. Continue with: {command}"
        )


def own_command() -> str:
    """Return the command line of this process."""
    words = sys.argv[1:]
    return shlex.join(["ultra-train", *(words if words[:1] == ["compare"] else ["compare", *words])])


def failed_again(plan: Plan, folder: ComparisonFolder, say: Callable[[str], None]) -> None:
    """Remove the records of failed trials, so that they are run again from where they were."""
    for trial in plan.trials:
        path = folder.result(trial)
        if path.is_file() and files.read_json(path).get("status") != "finished":
            path.unlink()
            say(f"{trial.name} failed and is tried again")
