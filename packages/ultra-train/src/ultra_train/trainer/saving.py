"""Writing checkpoints: everything that the next update depends on, and nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.trainer_callback import ExportableState

from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.system.random_state import random_state
from ultra_train.trainer.checkpoints.content import named_tensors, not_finite
from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.checkpoints.removal import remove_unfinished
from ultra_train.trainer.checkpoints.resume import PROGRESS, TRAINER_STATE
from ultra_train.trainer.checkpoints.retention import rotate_checkpoints
from ultra_train.trainer.checkpoints.state_files import save_state
from ultra_train.trainer.checkpoints.writing import write_checkpoint
from ultra_train.trainer.guards import RollbackNeeded
from ultra_train.trainer.log_lines import LogMixin
from ultra_train.trainer.loss_weights import LOSS_WEIGHTS, loss_weights
from ultra_train.trainer.optimizers import evaluation_weights, local_state, unwrapped
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.whole_model import named_weights, plain_model, uncompiled, whole_tensors

TRAINING_WEIGHTS = "training_weights.safetensors"
"""The weights that training continues with, where they differ from those for evaluation."""

SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")
_OTHER_FILES = 4_000_000
"""Bytes of the tokenizer, the random states and the JSON files of a checkpoint, roughly."""


@attrs.frozen
class Collected:
    """What processes share, whole, on the first of them; empty on the others.

    Attributes:
        weights: those for evaluation; None where every process has all of them.
        training_weights: those that training continues with, where they differ.
        optimizer: the state dict of the optimizer.
    """

    weights: dict[str, Tensor] | None
    training_weights: dict[str, Tensor]
    optimizer: dict[str, Any]


class SavingMixin(LogMixin):
    """Replaces how transformers' ``Trainer`` writes checkpoints; a part of ``UltraTrainerMixin``.

    Where processes share the parameters, or the state of the optimizer, the first process collects them in
    the memory of its CPU and writes the files that one process writes.
    """

    def __init__(self, *args: Any, settings: TrainerSettings, **kwargs: Any) -> None:
        super().__init__(*args, settings=settings, **kwargs)
        config = getattr(self.model, "config", None)
        self._special_tokens = {n: getattr(config, n) for n in SPECIAL_TOKENS if hasattr(config, n)}

    def restore_special_tokens(self) -> None:
        """Give the model's config back the special tokens that the model was built with.

        Transformers replaces them by those of the tokenizer when training begins. The modules keep the old
        ones, so the saved model would differ from the trained one.
        """
        for name, value in self._special_tokens.items():
            setattr(self.model.config, name, value)

    def checkpoint_bytes(self, state: Mapping[Any, Mapping[str, Any]]) -> int:
        """Estimate the size of the next checkpoint from the last one, or from weights and optimizer state."""
        if previous := list_checkpoints(self.checkpoint_root):
            return previous[0].size()
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        tensors = [t for s in state.values() for t in s.values() if torch.is_tensor(t)]
        return weights + sum(t.numel() * t.element_size() for t in tensors) + _OTHER_FILES

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write the checkpoint of the present update, complete or not at all, and remove superfluous ones."""
        self._check_finite()
        here = {"random": random_state(), "window_loss": float(self._tr_loss)}
        processes = self.here.gather(here)
        collected = self._collected()
        step, writes = self.state.global_step, self.here.main
        need = self.checkpoint_bytes(collected.optimizer["state"]) if writes else 0
        self.settings.disk.write_together(
            lambda: self._write_checkpoint(processes, collected, need) if writes else None,
            f"the checkpoint of step {step}",
            self.checkpoint_root,
            need,
        )
        self.here.wait()
        self.last_saved = step

    def _check_finite(self) -> None:
        """Roll back, on all processes, instead of writing numbers that no run can continue from."""
        found = self.here.gather(next(self._not_finite(), None))
        for bad in filter(None, found):
            raise RollbackNeeded(f"the {bad} is not finite, so no checkpoint of it is written")

    def _not_finite(self) -> Iterator[str]:
        for what, tensors in (
            ("weight", self.model.named_parameters()),
            ("buffer", self.model.named_buffers()),
            ("weight of the loss", loss_weights(self).items()),
            ("state of the optimizer", named_tensors(local_state(self.optimizer))),
        ):
            yield from (f"{what} {name}" for name in not_finite(tensors))

    def _collected(self) -> Collected:
        """Collect what the processes share at the first one; all processes call this together."""
        state, keep = unwrapped(self.optimizer).state_dict(), self.here.main
        if not self.sharded:
            return Collected(None, {}, state)
        with evaluation_weights(self.optimizer) as training:
            weights = whole_tensors(named_weights(self.model), keep=keep)
            named = uncompiled(self.model).named_parameters()
            own = [(n, training[id(p)]) for n, p in named if id(p) in training]
        return Collected(weights, whole_tensors(own, keep=keep), state)

    def _write_checkpoint(self, processes: list[dict[str, Any]], collected: Collected, need: int) -> None:
        step, settings, root = self.state.global_step, self.settings, self.checkpoint_root
        remove_unfinished(root)
        settings.storage.make_room(need)
        evaluated, metrics = self.last_evaluation
        facts = {**settings.facts, "metrics": dict(metrics) if evaluated == step else {}}

        def fill(folder: Path) -> None:
            self._fill_checkpoint(folder, processes, collected)

        saved = write_checkpoint(root, step, fill, facts)
        rotate_checkpoints(root, settings.retention)
        settings.on_saved(saved.path)

    def _fill_checkpoint(self, folder: Path, processes: list[dict[str, Any]], collected: Collected) -> None:
        """Write the files of a checkpoint.

        Args:
            folder: where to.
            processes: random state and loss sum of every process.
            collected: what the processes share.
        """
        training_weights = collected.training_weights
        if collected.weights is not None:
            self._save_under_own_names(folder, collected.weights)
        else:
            with evaluation_weights(self.optimizer) as training:
                self._save_under_own_names(folder)
            named = self.model.named_parameters()
            training_weights = {n: training[id(p)] for n, p in named if id(p) in training}
        if own := loss_weights(self):
            save_file({name: t.detach().contiguous() for name, t in own.items()}, folder / LOSS_WEIGHTS)
        if training_weights:  # training resumes with other weights than evaluation uses
            save_file(training_weights, folder / TRAINING_WEIGHTS)
        save_state(folder / "optimizer", collected.optimizer)
        save_state(folder / "schedule", self.lr_scheduler.state_dict())
        if self.accelerator.scaler is not None:
            save_state(folder / "scaler", self.accelerator.scaler.state_dict())
        save_state(folder / "random", [process["random"] for process in processes])
        progress = {
            "step": self.state.global_step,
            "position": self.settings.stream.position,
            "window_size": self.window_size,
            "tokens_seen": self.tokens_seen,
            "training_seconds": self.training_seconds,
            **self.gate.state_dict(),
            "data": self.settings.facts.get("data"),
            "window": self.log_window([process["window_loss"] for process in processes]),
            "rollbacks": self.settings.rollbacks.record,
        }
        (folder / PROGRESS).write_text(json.dumps(progress, indent=1), "utf-8")
        for name, text in self.settings.files.items():
            (folder / name).write_text(text, "utf-8")
        recorded: Any = self.state.stateful_callbacks  # a mapping, whatever its annotation says
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                recorded[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(folder / TRAINER_STATE))

    def _save_under_own_names(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write model and tokenizer, with every weight under the name that it has in the module.

        For some models transformers would use the names in their publishers' checkpoints, which a model that
        is already built does not know.
        """
        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PreTrainedModel):
            self._save(str(folder))
            return
        with transformers_errors_only():
            model.save_pretrained(folder, state_dict=weights, save_original_format=False)
            if self.processing_class is not None:
                self.processing_class.save_pretrained(folder)

    def unshard(self) -> None:
        """Put a whole model with the weights for evaluation in the place of a sharded one, after training.

        The first process has it, on the CPU; the model of the others is left as it is. All processes call
        this together.
        """
        if not self.sharded:
            return
        with evaluation_weights(self.optimizer):
            weights = whole_tensors(named_weights(self.model), keep=self.here.main)
        if self.here.main:
            self.model = self.model_wrapped = plain_model(self.model, weights)
        self.optimizer, self.is_fsdp_enabled = None, False

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write model and tokenizer without the pickled arguments that transformers adds."""
        with transformers_errors_only():
            super()._save(output_dir, state_dict)
        Path(output_dir or str(self.args.output_dir), "training_args.bin").unlink(missing_ok=True)
