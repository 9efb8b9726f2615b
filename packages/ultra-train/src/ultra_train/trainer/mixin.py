"""What ultra adds to every trainer of the Hugging Face family, in one mixin.

Put it in front of ``Trainer``, ``SentenceTransformerTrainer`` or ``SparseEncoderTrainer``::

    class MLMTrainer(UltraTrainerMixin, Trainer): ...

It overrides private methods of transformers' loop; a test checks that they exist and are called.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback

from ultra_optim.sharded import ShardedOptimizer
from ultra_train.trainer.curvature import CurvatureMixin
from ultra_train.trainer.data_parallel import configure, divided_on_host
from ultra_train.trainer.fully_sharded import fsdp_plugin, reshard, shard_on_cpu, sharded_as_it_is
from ultra_train.trainer.gate import Update
from ultra_train.trainer.loading import LoadingMixin
from ultra_train.trainer.log_lines import LogMixin
from ultra_train.trainer.loss_weights import losses_with_parameters
from ultra_train.trainer.norms import scale_to_norm_, total_norm
from ultra_train.trainer.optimizers import evaluation_weights
from ultra_train.trainer.out_of_memory import OutOfMemoryMixin
from ultra_train.trainer.recovery import RecoveryMixin
from ultra_train.trainer.saving import SavingMixin
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.stream import IDS, num_real_tokens
from ultra_train.trainer.update_callback import UpdateCallback


class UltraTrainerMixin(OutOfMemoryMixin, CurvatureMixin, RecoveryMixin, SavingMixin, LoadingMixin, LogMixin):
    """Optimizer and schedule plugins, exact position in the data, guards, atomic checkpoints.

    The gate judges an update once its gradients are complete. When the loss of the whole accumulation window,
    or the gradient norm before clipping, is not finite or too large, the update is dropped: weights,
    optimizer, schedule and the count of updates stay exactly as they were, and the run continues with the
    next window. After ``guard.patience`` drops in a row the run rolls back to its last intact checkpoint and
    leaves out the offending micro-batches; the second time it stops.

    Args:
        settings: what the run configures beyond ``TrainingArguments``.
        args, kwargs: the arguments of the trainer behind the mixin.
    """

    def __init__(self, *args: Any, settings: TrainerSettings, **kwargs: Any) -> None:
        super().__init__(*args, settings=settings, **kwargs)
        self._flops_per_token: int | None = None
        self.args.ignore_data_skip = True  # the stream resumes at its position; nothing is read again
        self.remove_callback(PrinterCallback)
        self.callback_handler.callbacks.insert(1, UpdateCallback(self))

    # -- several processes ------------------------------------------------------------------------------

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        """Let gradients be exchanged as ``data_parallel`` says."""
        if self.settings.sharded:
            kwargs["fsdp_plugin"] = self._fsdp_plugin = fsdp_plugin(self.model)
        arguments = super()._build_accelerator_args(**kwargs)
        for handler in arguments["kwargs_handlers"]:
            if isinstance(handler, DistributedDataParallelKwargs):
                configure(handler, self.model)
        return arguments

    def create_accelerator_and_postprocess(self) -> None:
        """Create the accelerator; between CPUs, too, it shards the model if the run says so."""
        super().create_accelerator_and_postprocess()
        if self.settings.sharded:
            shard_on_cpu(self.accelerator, self._fsdp_plugin)
            self.is_fsdp_enabled = True

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any
    ) -> tuple[nn.Module, Any]:
        """Shard the model, if the run says so, and load the checkpoint."""
        with sharded_as_it_is(self.model) if self.sharded else nullcontext():
            prepared: tuple[nn.Module, Any] = super()._prepare_for_training(
                max_steps, train_dataloader, resume_from_checkpoint
            )
            return prepared

    # -- plugins ----------------------------------------------------------------------------------------

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer plugin over the model and over losses that have parameters.

        Several processes divide its work.
        """
        if self.optimizer is None:
            modules = [model or self.model, *losses_with_parameters(self)]
            optimizer = self.settings.build_optimizer(modules)
            self.check_curvature(optimizer)
            if self.sharded:
                optimizer = ShardedOptimizer(optimizer)
            elif self.here.several:
                optimizer = divided_on_host(optimizer, self.here)
            self.optimizer = optimizer
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Let the schedule plugin scale the learning rates of all groups."""
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.settings.schedule)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # -- data -------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """Return the endless stream, at the position of the run."""
        return self.settings.stream

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return the evaluation batches, which need no further loader."""
        if isinstance(eval_dataset, str):
            return self.eval_dataset[eval_dataset]
        return eval_dataset if eval_dataset is not None else self.eval_dataset

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Take the micro-batches of one update, and begin the update at the gate."""
        self.update_started = time.perf_counter()
        loss_before = self._tr_loss.clone()
        micro_batches, positions = [], []
        for _ in range(num_batches):
            micro_batches.append(next(epoch_iterator))
            positions += self.settings.stream.round
        self.data_wait_seconds += time.perf_counter() - self.update_started
        num_items = self._get_num_items_in_batch(micro_batches, device)
        update = Update(
            micro_batches=micro_batches,
            positions=positions,
            num_tokens=sum(map(num_real_tokens, micro_batches)),
            num_items=num_items,
            loss_before=loss_before,
        )
        self.gate.begin(update)
        self.update_begins()
        return micro_batches, num_items

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """Return the estimate of six operations per token and per weight that is not an embedding."""
        if self._flops_per_token is None:
            embedded = sum(m.weight.numel() for m in self.model.modules() if isinstance(m, nn.Embedding))
            self._flops_per_token = 6 * (sum(p.numel() for p in self.model.parameters()) - embedded)
        tokens = sum(value.numel() for name, value in inputs.items() if name.endswith(IDS))
        return self._flops_per_token * tokens

    # -- gradients --------------------------------------------------------------------------------------

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return self._judge_gradients(max_norm=self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        if grad_norm is None:  # not clipped, so not judged yet
            grad_norm = self._judge_gradients(max_norm=None)
        return super()._get_grad_norm(model, grad_norm=grad_norm)

    def _judge_gradients(self, max_norm: float | None) -> Tensor:
        """Measure the norm of all gradients, and clip them when the gate admits the update."""
        self.accelerator.unscale_gradients()
        self.call_callbacks("on_gradients")
        groups = self.optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        norm = total_norm(gradients)
        if self._ask_gate(norm) and max_norm is not None and self.gate.grad_norm > max_norm:
            norm.fill_(self.gate.grad_norm)  # the same on all processes, to the last bit
            scale_to_norm_(gradients, max_norm, norm)
        return norm

    def _ask_gate(self, norm: Tensor) -> bool:
        admitted = self.gate.judge(norm)
        if admitted:
            self.tokens_seen += self.gate.num_tokens
        return admitted

    # -- decisions of all processes ---------------------------------------------------------------------

    def _maybe_log_save_evaluate(
        self,
        tr_loss: Tensor,
        grad_norm: Tensor | float | None,
        model: nn.Module,
        trial: Any,
        epoch: float,
        ignore_keys_for_eval: list[str] | None,
        start_time: float,
        learning_rate: float | None = None,
    ) -> None:
        """Log, evaluate and save when any process asks for it; stop when any process asks for that."""
        self._settle()
        pauses = self.control.should_evaluate or self.control.should_save
        super()._maybe_log_save_evaluate(
            tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, learning_rate
        )
        if pauses:  # long enough for a signal
            self._settle()

    def _settle(self) -> None:
        self.agreement.settle(self.control)
        self.call_callbacks("on_agreed")

    # -- weights for evaluation -------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate with the weights that the optimizer provides for evaluation."""
        if self.here.several:
            # The loop of transformers evaluates all batches on every process, which is exact for any number
            # of them; a task whose own loop divides them sums what the processes found.
            self.gather_function = _alone
        with evaluation_weights(self.optimizer):
            metrics = super().evaluate(*args, **kwargs)
            reshard(self.model)
        if self.is_in_train:
            self._settle()
        return metrics

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model with the weights that the optimizer provides for evaluation."""
        with evaluation_weights(self.optimizer):
            super().save_model(output_dir, _internal_call)


def _alone(values: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the values of this process alone, in the place of a function that gathers those of all."""
    return values
