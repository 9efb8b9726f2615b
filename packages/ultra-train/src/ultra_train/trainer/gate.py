"""The gate in front of the weights: it judges every update before the optimizer sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from ultra_train.trainer.guards import RollbackNeeded
from ultra_train.trainer.host import HostTrainer
from ultra_train.trainer.non_finite import first_bad_module
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.stream import Position, parse_positions

FP16_OVERFLOW = "fp16 overflow; the gradient scaler lowers its scale"


@attrs.frozen(kw_only=True)
class Update:
    """The accumulation window of one update.

    Attributes:
        micro_batches: its micro-batches.
        positions: where in the data those of all processes come from.
        num_tokens: real tokens of this process.
        num_items: labels, as transformers counts them; the divisor of the loss.
        loss_before: sum of the losses since the last line of the log, without this update.
    """

    micro_batches: Sequence[Any] = ()
    positions: Sequence[Position] = ()
    num_tokens: int = 0
    num_items: Any = None
    loss_before: Tensor = attrs.field(factory=lambda: torch.zeros(()))


class UpdateGate:
    """Decides for every update whether it is applied or dropped, and counts.

    A dropped update leaves weights, optimizer, learning-rate schedule, the sum of the losses and the count of
    updates (``state.global_step``) exactly as they were; this is the only place that takes the count back.
    Callbacks and the mixin read ``objection``.

    Args:
        host: the trainer.
        settings: its ``guard`` sets the limits, and its ``on_event`` is called for dropped updates.

    Attributes:
        update: the accumulation window that is being judged.
        objection: why the present update is not applied, or None when it is.
        grad_norm: gradient norm of the present update before clipping.
        num_tokens: real tokens of the present update, on all processes.
        dropped: updates dropped so far.
        dropped_in_a_row: updates dropped since the last one that was applied.
        offending: positions of the micro-batches of those.
    """

    def __init__(self, host: HostTrainer, settings: TrainerSettings) -> None:
        self.host = host
        self.settings = settings
        self.update = Update()
        self.objection: str | None = None
        self.grad_norm = 0.0
        self.num_tokens = 0
        self.dropped = 0
        self.dropped_in_a_row = 0
        self.offending: list[Position] = []

    def begin(self, update: Update) -> None:
        """Start a new update; nothing is known against it yet."""
        self.update = update
        self.objection = None

    def judge(self, grad_norm: Tensor) -> bool:
        """Decide on the present update once its gradients are complete.

        Costs one synchronisation with the device, and with other processes, which all decide alike.

        Args:
            grad_norm: norm of all gradients before clipping, a scalar.

        Returns:
            whether the update is applied. It is not when the gate drops it, nor when the gradients overflowed
            in fp16, in which case the gradient scaler skips the optimizer step by itself.
        """
        host = self.host
        loss_value = self._measure(grad_norm)
        objection = self.settings.guard.objection(loss_value, self.grad_norm)
        if objection is None:
            self._apply()
            return True
        overflow = host.accelerator.scaler is not None and not math.isfinite(self.grad_norm)
        if not overflow:
            self._drop(objection, loss_value)
        return False

    def _measure(self, grad_norm: Tensor) -> float:
        """Set ``grad_norm`` and ``num_tokens``, and return the loss of the update, over all processes.

        The norm is the mean over the processes, whose own norms differ by rounding at most.
        """
        host, processes = self.host, self.host.args.world_size
        loss = host._tr_loss - self.update.loss_before
        self.num_tokens = self.update.num_tokens
        if processes == 1:
            self.grad_norm, own = torch.stack([grad_norm.to(loss.device), loss.to(grad_norm.dtype)]).tolist()
            return float(own)
        tokens = torch.tensor(float(self.num_tokens), device=loss.device)
        measured = torch.stack([value.to(loss.device, torch.float64) for value in (grad_norm, loss, tokens)])
        total_norm, total_loss, total_tokens = host.accelerator.reduce(measured, "sum").tolist()
        self.grad_norm, self.num_tokens = total_norm / processes, int(total_tokens)
        return float(total_loss / processes)

    def note_optimizer_step(self) -> None:
        """Take the update back when the gradient scaler skipped its optimizer step."""
        if self.objection is None and self.host.accelerator.optimizer_step_was_skipped:
            self.objection = FP16_OVERFLOW
            self._take_back_count()

    def check_patience(self) -> None:
        """End the attempt when too many updates in a row were dropped.

        Raises:
            RollbackNeeded: ``guard.patience`` is exhausted.
        """
        if self.exhausted:
            raise RollbackNeeded(
                f"{self.dropped_in_a_row} updates in a row were dropped; the last because {self.objection}"
            )

    @property
    def exhausted(self) -> bool:
        """Whether so many updates in a row were dropped that the run must roll back."""
        return self.dropped_in_a_row > 0 and self.dropped_in_a_row >= self.settings.guard.patience

    def reset_streak(self) -> None:
        """Forget the updates that were dropped in a row; ``dropped`` still counts them."""
        self.dropped_in_a_row = 0
        self.offending.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint records of the gate."""
        streak = {"in_a_row": self.dropped_in_a_row, "offending": self.offending}
        return {"dropped_updates": self.dropped, "guard": streak}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; older checkpoints have no ``guard``."""
        self.dropped = state["dropped_updates"]
        streak = state.get("guard", {})
        count = streak.get("in_a_row", 0)
        self.dropped_in_a_row = count if type(count) is int else 0
        self.offending = parse_positions(streak.get("offending")) or []

    def _apply(self) -> None:
        self.reset_streak()
        if self.host.accelerator.scaler is None:
            self.host.optimizer._is_overflow = False

    def _drop(self, objection: str, loss: float) -> None:
        """Make the rest of transformers' loop skip this update: no optimizer step, no schedule step."""
        host, attempted = self.host, self.host.state.global_step + 1
        self.objection = objection
        self.dropped += 1
        self.dropped_in_a_row += 1
        self.offending.extend(self.update.positions)
        host._tr_loss.copy_(self.update.loss_before)
        host.accelerator.gradient_state._set_sync_gradients(False)  # makes the optimizer step do nothing
        host.optimizer._is_overflow = True  # makes the loop leave the schedule alone
        if host.accelerator.scaler is not None:
            host.accelerator.scaler.update()
        self._take_back_count()
        module = None  # a norm that is merely too large has no single origin
        if not (math.isfinite(loss) and math.isfinite(self.grad_norm)):
            with host.compute_loss_context_manager():
                module = first_bad_module(
                    host.model, map(self._forward_pass, self.update.micro_batches), self.settings.stream.here
                )
        self.settings.on_event(
            {
                "event": "dropped_update",
                "step": attempted,
                "reason": objection,
                "loss": loss,
                "grad_norm": self.grad_norm,
                "module": module,
                "in_a_row": self.dropped_in_a_row,
                "dropped_updates": self.dropped,
            }
        )

    def _take_back_count(self) -> None:
        """Offset the one that transformers' loop adds to the count after every accumulation window."""
        self.host.state.global_step -= 1

    def _forward_pass(self, micro_batch: Mapping[str, Any]) -> Callable[[], Any]:
        """Return a function that runs the model on a micro-batch of the present update."""
        inputs = self.host._prepare_inputs(micro_batch)
        return lambda: self.host.compute_loss(
            self.host.model, inputs, num_items_in_batch=self.update.num_items
        )
