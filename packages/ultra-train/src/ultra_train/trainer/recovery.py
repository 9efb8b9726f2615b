"""Resuming a run, and rolling back to its last intact checkpoint when it diverges."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer_utils import TrainOutput

from ultra_train.trainer.checkpoints.folders import newest_intact
from ultra_train.trainer.checkpoints.removal import set_aside
from ultra_train.trainer.checkpoints.resume import resume_damage
from ultra_train.trainer.guards import RollbackNeeded, TrainingDiverged
from ultra_train.trainer.loading import LoadingMixin

logger = logging.getLogger(__name__)


class RecoveryMixin(LoadingMixin):
    """Wraps training in one rollback; a part of ``UltraTrainerMixin``."""

    def train(  # type: ignore[override]  # no True for resume_from_checkpoint: the caller chooses one
        self, resume_from_checkpoint: str | None = None, **kwargs: Any
    ) -> TrainOutput:
        """Train to the end; a run that diverges rolls back once.

        Raises:
            TrainingDiverged: it diverged again, or there is no checkpoint to roll back to.
        """
        while True:
            try:
                if resume_from_checkpoint is not None and self._is_finished(resume_from_checkpoint):
                    return TrainOutput(self.state.global_step, float("nan"), {})
                return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
            except RollbackNeeded as reason:
                resume_from_checkpoint = str(self._roll_back(reason))

    def _is_finished(self, checkpoint: str) -> bool:
        """Return whether a checkpoint is of the last update; if so, load it."""
        state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        if state.global_step < self.args.max_steps:
            return False
        self.load_finished(Path(checkpoint))
        self.state = state
        self.call_callbacks("on_finished")
        return True

    def _roll_back(self, reason: RollbackNeeded) -> Path:
        """Prepare the run to resume from its last intact checkpoint, and return the folder of that."""
        gate, guard, rollbacks = self.gate, self.settings.guard, self.settings.rollbacks
        epoch, index = gate.offending[-1] if gate.offending else self.settings.stream.round[-1]
        advice = (
            "Lower the learning rate or training.grad_clip_max_norm, warm up longer, or look at the texts "
            f"around micro-batch {index} of epoch {epoch}; training.inf_post_clip_threshold is "
            f"{guard.threshold:g} and training.max_nan_retries is {guard.patience}."
        )
        if rollbacks.count:
            raise TrainingDiverged(
                f"{reason}, although the run had rolled back once already. {advice}"
            ) from reason
        checkpoint = self.here.share(
            newest_intact(self.checkpoint_root, logger.warning, check=resume_damage)
            if self.here.main
            else None
        )
        if checkpoint is None:
            raise TrainingDiverged(
                f"{reason}, and there is no checkpoint yet to roll back to. {advice}"
            ) from reason
        event = {
            "event": "rollback",
            "step": self.state.global_step,
            "reason": str(reason),
            "to_step": checkpoint.step,
            "left_out": sorted(set(gate.offending)),
        }
        rollbacks.add(gate.offending, event)
        self.settings.stream.skipped.update(gate.offending)
        self.settings.on_event(event)
        if self.here.main:
            self.settings.disk.write(rollbacks.write, "the record of the rollback", rollbacks.path.parent)
            set_aside(self.checkpoint_root, newer_than=checkpoint.step)
        self.here.wait()
        gate.reset_streak()
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model
        return Path(checkpoint.path)
