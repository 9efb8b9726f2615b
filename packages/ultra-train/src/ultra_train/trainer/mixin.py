"""What ultra adds to every trainer of the Hugging Face family, in one mixin.

Put it in front of ``Trainer``, ``SentenceTransformerTrainer`` or ``SparseEncoderTrainer``::

    class MLMTrainer(UltraTrainerMixin, Trainer): ...

It overrides private methods of transformers' loop; a test checks that they exist and are called.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerState
from transformers.trainer_utils import TrainOutput

from ultra_train.trainer.checkpoints import folders as checkpoints
from ultra_train.trainer.checkpoints.resume import resume_damage
from ultra_train.trainer.curvature import CurvatureMixin
from ultra_train.trainer.guards import RollbackNeeded, TrainingDiverged, first_bad_module
from ultra_train.trainer.log_window import WindowMixin
from ultra_train.trainer.saving import SavingMixin
from ultra_train.trainer.settings import TrainerSettings, evaluation_weights
from ultra_train.trainer.stream import Position
from ultra_train.trainer.update_callback import UpdateCallback

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")


class UltraTrainerMixin(CurvatureMixin, SavingMixin, WindowMixin):
    """Optimizer and schedule plugins, exact position in the data, guards, atomic checkpoints.

    An update is judged once its gradients are there: when the loss of its whole accumulation window, or the
    gradient norm before clipping, is not finite or too large, weights, optimizer, schedule and the count of
    updates stay exactly as they were, and the run goes on with the next window. After ``guard.patience``
    drops in a row the run returns to its last whole checkpoint and leaves the offending window out; the
    second time it stops.

    Args:
        settings: what the run says beyond ``TrainingArguments``.
        args, kwargs: those of the trainer behind the mixin.
    """

    def __init__(self: Any, *args: Any, settings: TrainerSettings, **kwargs: Any) -> None:
        self.settings = settings
        self.objection: str | None = None
        self.tokens_seen = 0
        self.training_seconds = 0.0
        self.window_started = 0.0
        self.last_evaluation: tuple[int, Mapping[str, Any]] = (-1, {})
        self.evaluation_due = False
        """Whether the run was stopped at an update before its evaluation; a resumed run begins with it."""
        self.rates: dict[str, float] = {}
        self.extra: dict[str, float] = {}
        """What callbacks measure; goes into every line of training."""
        self._logged: tuple[int, float] = (0, 0.0)
        self._window: list[Any] = []
        self._window_positions: list[Position] = []
        self._window_tokens = 0
        self._window_kept: Mapping[str, Any] = {}
        self._window_items: Any = None
        self._loss_before: Tensor | None = None
        self._flops_per_token: int | None = None
        super().__init__(*args, **kwargs)
        config = getattr(self.model, "config", None)
        self._special_tokens = {n: getattr(config, n) for n in SPECIAL_TOKENS if hasattr(config, n)}
        self.args.ignore_data_skip = True  # the stream knows where it stands; nothing is read again
        self.remove_callback(PrinterCallback)
        self.callback_handler.callbacks.insert(1, UpdateCallback(self))

    # -- plugins ----------------------------------------------------------------------------------------

    def create_optimizer(self: Any, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer plugin over the model and over losses that own parameters."""
        if self.optimizer is None:
            modules = [model or self.model, *self._losses_with_parameters()]
            self.optimizer = self.settings.build_optimizer(modules)
            self.check_curvature(self.optimizer)
        return self.optimizer

    def _losses_with_parameters(self: Any) -> Iterator[nn.Module]:
        loss = getattr(self, "loss", None)
        known = {id(p) for p in self.model.parameters()}
        for module in loss.values() if isinstance(loss, Mapping) else [loss]:
            if isinstance(module, nn.Module) and any(id(p) not in known for p in module.parameters()):
                yield module

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Let the schedule plugin scale the rates of all groups."""
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.settings.schedule)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # -- data -------------------------------------------------------------------------------------------

    def get_train_dataloader(self: Any) -> Any:
        """Return the endless stream, which stands where the run stands."""
        return self.settings.stream

    def get_eval_dataloader(self: Any, eval_dataset: Any = None) -> Any:
        """Return the evaluation batches; they are batches already."""
        if isinstance(eval_dataset, str):
            return self.eval_dataset[eval_dataset]
        return eval_dataset if eval_dataset is not None else self.eval_dataset

    def get_batch_samples(
        self: Any, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Take the micro-batches of one update, and note where they stand and how many tokens they hold."""
        self.window_started = time.perf_counter()
        self._loss_before = self._tr_loss.clone()
        self._window, self._window_positions = [], []
        for _ in range(num_batches):
            self._window.append(next(epoch_iterator))
            self._window_positions.append(self.settings.stream.last)
        self._window_tokens = sum(real_tokens(batch) for batch in self._window) * self.args.world_size
        self._window_items = self._get_num_items_in_batch(self._window, device)
        return self._window, self._window_items

    def floating_point_ops(self: Any, inputs: Mapping[str, Any]) -> int:
        """Six operations a token and a weight that is no embedding."""
        if self._flops_per_token is None:
            embedded = sum(m.weight.numel() for m in self.model.modules() if isinstance(m, nn.Embedding))
            self._flops_per_token = 6 * (sum(p.numel() for p in self.model.parameters()) - embedded)
        tokens = inputs["input_ids"].numel() if "input_ids" in inputs else 0
        return self._flops_per_token * tokens

    # -- guards -----------------------------------------------------------------------------------------

    def _clip_grad_norm(self: Any, model: nn.Module) -> Any:
        if self.is_deepspeed_enabled:  # the engine clips, steps and skips by itself
            self.objection = None
            return super()._clip_grad_norm(model)  # type: ignore[misc]
        if self.sharded:
            self._tell("on_gradients")
            return self._judge(super()._clip_grad_norm(model), None)  # type: ignore[misc]
        return self._judge(None, self.args.max_grad_norm)

    def _get_grad_norm(self: Any, model: nn.Module, grad_norm: Any = None) -> Any:
        if grad_norm is None and not self.sharded:
            grad_norm = self._judge(None, None)
        return super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]

    def _judge(self: Any, norm: Tensor | None, max_norm: float | None) -> Tensor:
        """Measure the gradients, drop the update if the guard objects, else clip; one synchronisation."""
        self.accelerator.unscale_gradients()
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if norm is None:
            self._tell("on_gradients")
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        loss = self._tr_loss - self._loss_before
        if self.args.world_size > 1:
            loss = self.accelerator.reduce(loss, "mean")
        value, loss_value = torch.stack([norm.to(loss.device), loss.to(norm.dtype)]).tolist()
        self.objection = self.settings.guard.objection(loss_value, value)
        scaler = self.accelerator.scaler
        if scaler is not None and self.objection is not None and value - value != 0:
            self.objection = None  # an overflow of fp16: the scaler skips it and backs off
            return norm
        if self.objection is not None:
            self._drop(loss_value, value)
            return norm
        self.settings.guard.note_taken()
        self.tokens_seen += self._window_tokens
        if scaler is None:
            self.optimizer._is_overflow = False
        if max_norm is not None and value > max_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    def _tell(self: Any, event: str) -> None:
        """Call a method of the callbacks that have it, which transformers does not know.

        ``on_gradients``: the gradients of an update are there, not clipped yet; ``on_finished``: the
        checkpoint is of a run that trains no further.
        """
        for callback in self.callback_handler.callbacks:
            if (method := getattr(callback, event, None)) is not None:
                method(self.args, self.state, self.control, model=self.model, optimizer=self.optimizer)

    def _drop(self: Any, loss: float, norm: float) -> None:
        """Make the rest of the loop pass this update by: no optimizer step, no schedule step, no count."""
        guard, attempted = self.settings.guard, self.state.global_step + 1
        guard.note_dropped(self._window_positions)
        self._tr_loss.copy_(self._loss_before)
        self.accelerator.gradient_state._set_sync_gradients(False)  # the optimizer's step does nothing then
        self.optimizer._is_overflow = True  # and the loop leaves the schedule alone
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        self.state.global_step -= 1
        module = None  # a norm that is merely too large comes from no place of its own
        if not (math.isfinite(loss) and math.isfinite(norm)):
            with self.compute_loss_context_manager():
                module = first_bad_module(self.model, map(self._forward_pass, self._window))
        self.settings.on_event(
            {
                "event": "dropped_update",
                "step": attempted,
                "reason": self.objection,
                "loss": loss,
                "grad_norm": norm,
                "module": module,
                "in_a_row": guard.in_a_row,
                "dropped_updates": guard.dropped,
            }
        )

    def _forward_pass(self: Any, batch: Mapping[str, Any]) -> Callable[[], Any]:
        """Return a forward pass over a micro-batch of the present update."""
        inputs = self._prepare_inputs(batch)
        return lambda: self.compute_loss(self.model, inputs, num_items_in_batch=self._window_items)

    def train(self: Any, resume_from_checkpoint: str | None = None, **kwargs: Any) -> TrainOutput:
        """Train to the end; a run that diverges goes back once.

        Raises:
            TrainingDiverged: it diverged again, or there is no checkpoint to go back to.
        """
        while True:
            try:
                if resume_from_checkpoint is not None and self._is_finished(resume_from_checkpoint):
                    return TrainOutput(self.state.global_step, float("nan"), {})
                return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)  # type: ignore[misc]
            except RollbackNeeded as reason:
                resume_from_checkpoint = str(self._go_back(reason))

    def _is_finished(self: Any, checkpoint: str) -> bool:
        state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        if state.global_step < self.args.max_steps:
            return False
        self.load_finished(Path(checkpoint))
        self.state = state
        self._tell("on_finished")
        return True

    def _go_back(self: Any, reason: RollbackNeeded) -> Path:
        guard, rollbacks = self.settings.guard, self.settings.rollbacks
        last = guard.offending[-1] if guard.offending else self.settings.stream.last
        advice = (
            "Lower the learning rate or training.grad_clip_max_norm, warm up longer, or look at the texts "
            f"around micro-batch {last[1]} of epoch {last[0]}; training.inf_post_clip_threshold is "
            f"{guard.threshold:g} and training.max_nan_retries is {guard.patience}."
        )
        if rollbacks.count:
            raise TrainingDiverged(f"{reason}, after the run went back once already. {advice}") from reason
        checkpoint = checkpoints.newest_intact(self.checkpoint_root, logger.warning, check=resume_damage)
        if checkpoint is None:
            raise TrainingDiverged(f"{reason}, with no checkpoint yet to go back to. {advice}") from reason
        event = {
            "event": "rollback",
            "step": self.state.global_step,
            "reason": str(reason),
            "to_step": checkpoint.step,
            "left_out": sorted(set(guard.offending)),
        }
        rollbacks.add(guard.offending, event)
        self.settings.stream.skipped.update(guard.offending)
        self.settings.on_event(event)
        checkpoints.set_aside(self.checkpoint_root, newer_than=checkpoint.step)
        guard.note_taken()
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model
        return checkpoint.path

    # -- evaluation and logs ----------------------------------------------------------------------------

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate with the weights that the optimizer says are for evaluation."""
        with evaluation_weights(self.optimizer):
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def save_model(self: Any, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model with the weights that the optimizer says are for evaluation."""
        with evaluation_weights(self.optimizer):
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what ultra measures to the lines of training: rates per role, tokens, dropped updates."""
        if "loss" in logs:
            tokens, seconds = (a - b for a, b in zip(self._now(), self._logged, strict=True))
            logs |= self.rates
            logs["tokens_seen"] = self.tokens_seen
            logs["tokens_per_second"] = tokens / max(1e-9, seconds)
            logs["dropped_updates"] = self.settings.guard.dropped
            logs |= self.extra
            self.start_clock()
        super().log(logs, start_time)  # type: ignore[misc]
        del self.state.log_history[:-100]  # the run's metrics.jsonl has them all

    def restore_special_tokens(self: Any) -> None:
        """Give the model's config the special tokens back that it was built with.

        Transformers puts those of the tokenizer there when training begins. The modules keep what they have,
        so that the model would be another one when it is loaded again.
        """
        for name, value in self._special_tokens.items():
            setattr(self.model.config, name, value)

    def start_clock(self) -> None:
        """Measure tokens per second from here."""
        self._logged = self._now()

    def _now(self) -> tuple[int, float]:
        return self.tokens_seen, self.training_seconds


def real_tokens(batch: Mapping[str, Any]) -> int:
    """Count the tokens of a batch that are not padding."""
    mask = batch.get("attention_mask")
    if mask is not None:
        return int(mask.sum())
    return int(batch["input_ids"].numel()) if "input_ids" in batch else 0
