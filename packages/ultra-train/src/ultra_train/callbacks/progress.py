"""Progress of a run: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressCallback(TrainerCallback):
    """Shows the update, the loss, tokens per second and the remaining time.

    Args:
        console: where to print; a terminal gets a progress bar.
        metrics: what the line about an evaluation shows beside the loss: the word for a metric, and the
            format of its value.
        seconds: least number of seconds between two plain lines.
    """

    def __init__(
        self,
        console: Console,
        metrics: Mapping[str, tuple[str, str]] = MappingProxyType({}),
        seconds: float = 5.0,
    ) -> None:
        self.console = console
        self.metrics = metrics
        self.seconds = seconds
        self.bar: Progress | None = None
        self.task: Any = None
        self.logs: dict[str, Any] = {}
        self._last_line = 0.0
        self._began = (0.0, 0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar, or note when the run began."""
        if not state.is_world_process_zero:
            return
        self._began = (time.monotonic(), state.global_step)
        self._last_line = time.monotonic()
        if self.console.is_terminal and self.bar is None:
            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step, status="")
            self.bar.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the numbers of the newest line."""
        if not logs or not state.is_world_process_zero:
            return
        if "loss" in logs:
            self.logs = logs
            status = f"loss {logs['loss']:.3f}  {logs.get('tokens_per_second', 0):,.0f} tokens/s"
            if self.bar is not None:
                self.bar.update(self.task, status=status)
            elif time.monotonic() - self._last_line >= self.seconds or state.global_step >= state.max_steps:
                self._last_line = time.monotonic()
                self._line(f"step {state.global_step}/{state.max_steps}  {status}  {self._left(state)}")
        elif "eval_loss" in logs:
            shown = [(*how, logs[name]) for name, how in self.metrics.items() if name in logs]
            measured = "".join(f"  {word} {value:{form}}" for word, form, value in shown)
            self._line(
                f"step {state.global_step}/{state.max_steps}  held-out loss {logs['eval_loss']:.3f}{measured}"
            )

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def _left(self, state: TrainerState) -> str:
        began, first = self._began
        done = state.global_step - first
        if done <= 0:
            return ""
        seconds = (time.monotonic() - began) / done * (state.max_steps - state.global_step)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the bar."""
        self.stop()

    def stop(self) -> None:
        """Remove the bar, also after an error."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
