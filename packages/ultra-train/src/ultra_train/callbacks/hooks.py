"""Calling the hook ``ultra_evaluate`` of plugins."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_core.errors import PluginError


class HooksCallback(TrainerCallback):
    """Adds the metrics of ``ultra_evaluate`` hooks to every evaluation.

    Args:
        run: the run that is passed to the hooks.
        manager: the plugin manager.
        write: receives a record with the metrics.
    """

    def __init__(self, run: Any, manager: Any, write: Any) -> None:
        self.run = run
        self.manager = manager
        self.write = write

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Call the hooks and log their metrics as ``eval_<name>``."""
        found: dict[str, float] = {}
        for answer in self.manager.hook.ultra_evaluate(run=self.run, model=model):
            if not isinstance(answer, dict):
                raise PluginError(f"ultra_evaluate must return a mapping of names to numbers, not {answer!r}")
            found |= {f"eval_{k.removeprefix('eval_')}": float(v) for k, v in answer.items()}
        if found:
            if metrics is not None:
                metrics.update(found)
            if state.is_world_process_zero:
                self.write({"step": state.global_step, **found})
