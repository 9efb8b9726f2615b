"""What the parts of ``UltraTrainerMixin`` share: the settings of the run and its counters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultra_train.system.processes import Processes
from ultra_train.trainer.agreement import Agreement
from ultra_train.trainer.gate import UpdateGate
from ultra_train.trainer.host import MixinBase
from ultra_train.trainer.settings import TrainerSettings


class TrainerBase(MixinBase):
    """Holds the state that more than one part of ``UltraTrainerMixin`` reads.

    Args:
        settings: what the run configures beyond ``TrainingArguments``.
        args, kwargs: the arguments of the trainer behind the mixin.

    Attributes:
        gate: decides whether an update is applied.
        agreement: what all processes decide alike.
        tokens_seen: real tokens of all applied updates, on all processes.
        training_seconds: time spent in updates, in all parts of a run that was resumed.
        data_wait_seconds: time spent waiting for micro-batches since the last line of the log.
        update_started: ``time.perf_counter()`` when the present update began.
        learning_rates: ``lr_<role>`` of the present update.
        extra_metrics: what callbacks have measured; added to every training line of the log.
        last_evaluation: update and metrics of the last evaluation; update -1 before the first.
        evaluation_due: whether a signal stopped the run before the evaluation of an update, which a resumed
            run then starts with.
        last_saved: update of the last checkpoint that this process saved; -1 before the first.
    """

    model: Any
    model_wrapped: Any
    optimizer: Any
    lr_scheduler: Any
    eval_dataset: Any
    _globalstep_last_logged: Any

    def __init__(self, *args: Any, settings: TrainerSettings, **kwargs: Any) -> None:
        self.settings = settings
        self.gate = UpdateGate(self, settings)
        self.tokens_seen = 0
        self.training_seconds = 0.0
        self.data_wait_seconds = 0.0
        self.update_started = 0.0
        self.learning_rates: dict[str, float] = {}
        self.extra_metrics: dict[str, float] = {}
        self.last_evaluation: tuple[int, Mapping[str, Any]] = (-1, {})
        self.evaluation_due = False
        self.last_saved = -1
        super().__init__(*args, **kwargs)
        self.agreement = Agreement(self.here)

    @property
    def here(self) -> Processes:
        """This process among those of the run."""
        return self.settings.stream.here

    @property
    def window_size(self) -> int:
        """Number of micro-batches of an update, on all processes."""
        return self.args.gradient_accumulation_steps * self.here.count

    @property
    def sharded(self) -> bool:
        """Whether the processes share the parameters, so that none of them holds all."""
        return bool(self.is_fsdp_enabled)

    @property
    def checkpoint_root(self) -> Path:
        """Folder of the run's checkpoints."""
        return Path(str(self.args.output_dir))

    def call_callbacks(self, event: str) -> None:
        """Call a method that transformers does not know on those callbacks that have it.

        Args:
            event: ``on_gradients``, when the gradients of an update are complete and not clipped yet;
                ``on_agreed``, when all processes know what the others saw, after every update, evaluation
                and checkpoint; or ``on_finished``, when the run resumes from the checkpoint of its last
                update.
        """
        for callback in self.callback_handler.callbacks:
            if (method := getattr(callback, event, None)) is not None:
                method(self.args, self.state, self.control, model=self.model, optimizer=self.optimizer)
