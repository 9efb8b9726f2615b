"""What the next line of the log depends on, so that a resumed run writes the lines of an unbroken one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultra_train.trainer.checkpoints import folders as checkpoints
from ultra_train.trainer.checkpoints.resume import is_count


class WindowMixin:
    """Saves and restores the logging window; a part of ``UltraTrainerMixin``."""

    last_evaluation: tuple[int, Mapping[str, Any]]
    evaluation_due: bool

    def log_window(self: Any, losses: list[float]) -> dict[str, Any]:
        """Return what a checkpoint keeps of the window.

        Args:
            losses: sum of the losses since the last line, for every process.
        """
        step, metrics = self.last_evaluation
        numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        return {
            "losses": losses,
            "last_logged": self._globalstep_last_logged,
            "extra": {k: v for k, v in self.extra.items() if isinstance(v, (int, float))},
            "evaluated": step,
            "evaluation": numbers,
            "evaluation_due": self.evaluation_due,
        }

    def keep_window(self: Any, facts: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept; the sums follow when the loop has reset its own."""
        self._window_kept = facts
        self.evaluation_due = facts.get("evaluation_due") is True and self.eval_dataset is not None
        if is_count(facts.get("evaluated")):
            self.last_evaluation = (facts["evaluated"], _numbers(facts.get("evaluation")))
        self.extra.update(_numbers(facts.get("extra")))

    def evaluate_late(self: Any) -> None:
        """Evaluate what a signal left out, and tell the checkpoint of this update its metrics."""
        metrics = self.evaluate()
        self.evaluation_due = False
        checkpoints.record_metrics(self.checkpoint_root, self.state.global_step, _numbers(metrics))

    def resume_window(self: Any) -> None:
        """Give the loop, which begins with an empty window, the one that was kept; once."""
        facts, self._window_kept = self._window_kept, {}
        losses, last, rank = facts.get("losses"), facts.get("last_logged"), self.args.process_index
        if not (isinstance(losses, list) and rank < len(losses) and is_count(last)):
            return  # a new run, a checkpoint of an older version, or of fewer processes
        if last <= self.state.global_step and isinstance(losses[rank], float):
            self._tr_loss.fill_(losses[rank])
            self._globalstep_last_logged = last


def _numbers(value: Any) -> dict[str, float]:
    entries = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in entries if type(v) is float or (type(v) is int and abs(v) < 2**53)}
