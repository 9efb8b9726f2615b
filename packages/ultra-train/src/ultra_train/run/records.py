"""What a run writes about itself: its preset, metrics, events, facts and report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import to_yaml
from ultra_train.report.run_page import write_report
from ultra_train.run.context import Run
from ultra_train.run.device import pick_precision
from ultra_train.run.events import Event, EventLog
from ultra_train.run.facts import RunFacts
from ultra_train.run.process import RunProcess
from ultra_train.system import files, run_files
from ultra_train.system.disk_space import DiskSpace
from ultra_train.trainer.agreement import Agreement


class Records:
    """The files of a run about itself, which its first process writes; it waits while the disk is full.

    Args:
        run: the run.
        process: this process of it.
        keep: called when training begins; from then on the folder stays, however the run ends.
    """

    def __init__(self, run: Run, process: RunProcess, keep: Callable[[], None]) -> None:
        agreement = Agreement(process.here)
        self.run = run
        self.process = process
        self.disk = DiskSpace(
            process.say,
            signals=process.signals,
            agree=lambda seen: bool(agreement.largest(float(seen))[0]),
        )
        self.metrics = MetricsFile(run.path / run_files.METRICS, self.disk)
        self._keep = keep
        self._events = EventLog(self.metrics, process.say)
        self._facts = RunFacts(run.path)

    def event(self, event: Event) -> None:
        """Write an event, and print it if it has a line."""
        if self.process.main:
            self._events(event)

    def events_once(self, events: Iterable[Event]) -> None:
        """Write the events about the data, unless they are in the file already."""
        if self.process.main:
            self._events.write_once(events)

    def config(self) -> None:
        """Write the preset."""
        path, text = self.run.path / run_files.CONFIG, to_yaml(self.run.config)
        if self.process.main:
            self.disk.write(lambda: files.write_text(path, text), path.name, path.parent)

    def training_begins(self) -> None:
        """Keep the folder; write how the run is trained, and the preset, which fits the checkpoint by now."""
        self._keep()
        self.config()
        if self.process.main:
            self.disk.write(self._begin, run_files.FACTS, self.run.path)

    def _begin(self) -> None:
        run, device = self.run, self.process.device
        self._facts.begin(
            step=run.trainer.state.global_step,
            model=run.model,
            device=device,
            precision=pick_precision(run.training, device),
        )

    @contextmanager
    def end_recorded(self, reason: Callable[[], str | None]) -> Iterator[None]:
        """Write how this part of the run ends.

        Args:
            reason: returns why the run was asked to stop before its end, or None.
        """
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # a full disk must not replace the reason
                self._end(reason() or f"{type(error).__name__}: {error}")
            raise
        self.disk.write(lambda: self._end("finished"), run_files.FACTS, self.run.path)

    def _end(self, outcome: str) -> None:
        trainer = self.run.trainer
        step, tokens = trainer.state.global_step, trainer.tokens_seen
        self._facts.end(step=step, outcome=outcome, tokens=tokens, seconds=trainer.training_seconds)

    def report_of_stop(self, outcome: str) -> None:
        """Write the report of a run that stops after a checkpoint, for the reason that its facts then have.

        A report that cannot be written is said, and replaces no reason; the other processes wait.
        """
        if self.process.main:
            try:
                self._end(outcome)
                self._write_report()
            except Exception as error:  # whatever it is, the run ends for another reason
                self.process.say(f"notice: {run_files.REPORT} could not be written: {error}")
        self.process.here.wait()

    def report(self) -> None:
        """Write the report, while the other processes wait if the disk is full."""
        write = self._write_report if self.process.main else lambda: None
        self.disk.write_together(write, "the report", self.run.path)

    def _write_report(self) -> None:
        self.metrics.flush()  # lines that found the disk full
        write_report(self.run.path)
