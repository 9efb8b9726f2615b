"""Checkpoints of the trainer: everything that the next update depends on, and nothing pickled."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_callback import ExportableState
from transformers.utils import SAFE_WEIGHTS_NAME

from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.trainer.checkpoints import folders as checkpoints
from ultra_train.trainer.checkpoints.content import named_tensors, not_finite
from ultra_train.trainer.checkpoints.folders import CheckpointError
from ultra_train.trainer.checkpoints.resume import (
    PROGRESS,
    TRAINER_STATE,
    check_random,
    read_progress,
    same_kind,
)
from ultra_train.trainer.checkpoints.state_files import (
    load_state,
    random_state,
    restore_random_state,
    save_state,
)
from ultra_train.trainer.guards import RollbackNeeded
from ultra_train.trainer.settings import TrainerSettings, evaluation_weights, unwrapped

logger = logging.getLogger(__name__)

TRAINING_WEIGHTS = "training_weights.safetensors"


class SavingMixin:
    """Replaces how transformers' Trainer writes and reads checkpoints; a part of ``UltraTrainerMixin``.

    Sharded training (FSDP, DeepSpeed) keeps transformers' own way, which gathers or shards as it must.
    """

    settings: TrainerSettings
    tokens_seen: int
    last_evaluation: tuple[int, Mapping[str, Any]]

    @property
    def sharded(self: Any) -> bool:
        """Whether parameters are spread over devices, so that no process holds them all."""
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        return bool(sharded or self.is_distributed_loading_by_transformers)

    @property
    def checkpoint_root(self: Any) -> Path:
        """Folder of the run's checkpoints."""
        return Path(self.args.output_dir)

    def _save_checkpoint(self: Any, model: nn.Module, trial: Any) -> None:
        """Write the checkpoint of the present step, whole or not at all, and let old ones go."""
        if self.sharded:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            return
        self._check_finite()
        here = {"random": random_state(), "window_loss": float(self._tr_loss)}
        processes = gather_object([here]) if self.args.world_size > 1 else [here]
        if self.args.should_save:
            step, settings = self.state.global_step, self.settings
            checkpoints.remove_unfinished(self.checkpoint_root)
            checkpoints.make_room(
                self.checkpoint_root,
                self.checkpoint_bytes(),
                settings.keeping,
                budget=settings.storage_budget,
                used=settings.run_folder,
            )
            evaluated, metrics = self.last_evaluation
            facts = {**settings.facts, "metrics": dict(metrics) if evaluated == step else {}}
            saved = checkpoints.write_checkpoint(
                self.checkpoint_root, step, lambda folder: self._fill_checkpoint(folder, processes), facts
            )
            checkpoints.rotate_checkpoints(self.checkpoint_root, settings.keeping)
            settings.on_saved(saved.path)
        self.accelerator.wait_for_everyone()

    def _check_finite(self: Any) -> None:
        """Go back instead of writing numbers that no run can go on from."""
        for what, tensors in (
            ("weight", self.model.named_parameters()),
            ("buffer", self.model.named_buffers()),
            ("state of the optimizer", named_tensors(unwrapped(self.optimizer).state_dict()["state"])),
        ):
            for name in not_finite(tensors):
                raise RollbackNeeded(f"the {what} {name} is not finite, so no checkpoint of it is written")

    def checkpoint_bytes(self: Any) -> int:
        """Estimate the next checkpoint: as large as the last one, else weights and optimizer state."""
        if previous := checkpoints.list_checkpoints(self.checkpoint_root):
            return previous[0].size()
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        state = unwrapped(self.optimizer).state if self.optimizer is not None else {}
        tensors = [t for s in state.values() for t in s.values() if torch.is_tensor(t)]
        moments = sum(t.numel() * t.element_size() for t in tensors)
        return weights + moments + 4_000_000  # tokenizer, random states, JSON

    def _fill_checkpoint(self: Any, folder: Path, processes: list[dict[str, Any]]) -> None:
        with evaluation_weights(self.optimizer) as training:
            self._save_under_own_names(folder)
        if training:  # what resumes exactly is not what evaluates
            names = {n: training[id(p)] for n, p in self.model.named_parameters() if id(p) in training}
            save_file(names, folder / TRAINING_WEIGHTS)
        save_state(folder / "optimizer", unwrapped(self.optimizer).state_dict())
        save_state(folder / "schedule", self.lr_scheduler.state_dict())
        if self.accelerator.scaler is not None:
            save_state(folder / "scaler", self.accelerator.scaler.state_dict())
        save_state(folder / "random", [process["random"] for process in processes])
        progress = {
            "step": self.state.global_step,
            "position": self.settings.stream.position,
            "tokens_seen": self.tokens_seen,
            "training_seconds": self.training_seconds,
            "dropped_updates": self.settings.guard.dropped,
            "data": self.settings.facts.get("data"),
            "window": self.log_window([process["window_loss"] for process in processes]),
            "guard": self.settings.guard.row,
            "rollbacks": self.settings.rollbacks.facts,
        }
        (folder / PROGRESS).write_text(json.dumps(progress, indent=1), "utf-8")
        for name, text in self.settings.files.items():
            (folder / name).write_text(text, "utf-8")
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(folder / TRAINER_STATE))

    def _save_under_own_names(self: Any, folder: Path) -> None:
        """Write model and tokenizer, every weight under the name that its module has.

        Transformers would give weights of some models the names that their publishers use, which a model that
        is trained already does not know them by.
        """
        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PreTrainedModel):
            self._save(str(folder))
            return
        with transformers_errors_only():
            model.save_pretrained(folder, save_original_format=False)
            if self.processing_class is not None:
                self.processing_class.save_pretrained(folder)

    def _load_weights(self: Any, folder: Path, model: nn.Module | None) -> None:
        """Read weights; those of checkpoints with other names than the modules' find their place too."""
        file = folder / SAFE_WEIGHTS_NAME
        if isinstance(self.model, PreTrainedModel) and file.is_file():
            with safe_open(file, "pt") as weights:
                foreign = not set(weights.keys()) <= set(self.model.state_dict())
            if foreign:
                with transformers_errors_only():
                    loaded = type(self.model).from_pretrained(folder, dtype=self.model.dtype)
                self._issue_warnings_after_load(self.model.load_state_dict(loaded.state_dict(), strict=False))
                return
        super()._load_from_checkpoint(str(folder), model)  # type: ignore[misc]

    def _save(self: Any, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write model and tokenizer; the pickled arguments that transformers adds are left out."""
        with transformers_errors_only():
            super()._save(output_dir, state_dict)  # type: ignore[misc]
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Read what training goes on from."""
        folder = Path(resume_from_checkpoint)
        self.load_finished(folder, model)
        if (folder / TRAINING_WEIGHTS).exists():
            self.model.load_state_dict(load_file(folder / TRAINING_WEIGHTS), strict=False)

    def load_finished(self: Any, folder: Path, model: nn.Module | None = None) -> None:
        """Read the weights that evaluate, position in the data and counters, of a run that trains no further.

        Raises:
            CheckpointError: the checkpoint is of a model of other sizes, or was made on other data.
        """
        try:
            self._load_weights(folder, model)
        except RuntimeError as error:
            if "size mismatch" not in str(error):
                raise
            first = next(line.strip() for line in str(error).splitlines() if "size mismatch" in line)
            raise CheckpointError(
                f"{folder} does not fit this model: {first} Resume with the model of the run, or start a new "
                "run."
            ) from error
        if not (folder / PROGRESS).exists():
            logger.warning("%s was not written by ultra: the data starts from its beginning", folder)
            return
        progress = read_progress(folder)
        here, there = self.settings.facts.get("data"), progress.get("data")
        if here != there:
            raise CheckpointError(
                f"{folder} was trained on other data than this run has now ({there}, now {here}): "
                "its position means nothing here. Restore the data, the tokenizer and the keys batch_size, "
                "batching (a GPU packs rows unless it is set), max_length, seed and eval_fraction of "
                "training, or start a new run."
            )
        epoch, index = progress["position"]
        self.settings.stream.move_to((epoch, index))
        if index > len(self.settings.stream.loader):
            raise CheckpointError(f"{folder}: {PROGRESS} has a position that is not in the data")
        self.tokens_seen = progress["tokens_seen"]
        self.training_seconds = progress.get("training_seconds", 0.0)  # older checkpoints have none
        self.settings.guard.dropped = progress["dropped_updates"]
        self.settings.guard.row = progress.get("guard", {})
        self.keep_window(progress.get("window", {}))

    def _issue_warnings_after_load(self: Any, load_result: Any) -> None:
        """Refuse weights that do not fit; tied ones are stored once and are not missing."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        missing = set(load_result.missing_keys)
        loaded = {id(p) for name, p in parameters.items() if name not in missing}
        missing = {n for n in missing if n not in parameters or id(parameters[n]) not in loaded}
        if missing or load_result.unexpected_keys:
            raise CheckpointError(
                f"the checkpoint does not fit this model: missing {sorted(missing)[:5]}, unexpected "
                f"{sorted(load_result.unexpected_keys)[:5]}. Resume with the preset of the run."
            )

    def _load_optimizer_and_scheduler(self: Any, checkpoint: str | None) -> None:
        folder = Path(checkpoint or "")
        if checkpoint is None or not (folder / "optimizer.json").exists():
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        optimizer, state = unwrapped(self.optimizer), load_state(folder / "optimizer")
        try:
            same_kind(optimizer.state_dict()["param_groups"], state["param_groups"], "param_groups")
            optimizer.load_state_dict(state)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, CheckpointError) as error:
            raise CheckpointError(
                f"{folder} does not fit the optimizer: {error}. Resume with the training.optimizer of the "
                "run, or start a new run with its model as base_model."
            ) from error
        schedule = load_state(folder / "schedule")
        same_kind(self.lr_scheduler.state_dict(), schedule, "schedule")
        try:
            self.lr_scheduler.load_state_dict(schedule)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{folder}: the schedule cannot go on from its state ({error})") from error

    def _load_scaler(self: Any, checkpoint: str | None) -> None:
        stem = Path(checkpoint or "") / "scaler"
        if checkpoint is None or self.accelerator.scaler is None or not stem.with_suffix(".json").exists():
            super()._load_scaler(checkpoint)  # type: ignore[misc]
            return
        self.accelerator.scaler.load_state_dict(load_state(stem))

    def _load_rng_state(self: Any, checkpoint: str | None) -> None:
        stem = Path(checkpoint or "") / "random"
        if checkpoint is None or not stem.with_suffix(".json").exists():
            super()._load_rng_state(checkpoint)  # type: ignore[misc]
            return
        generators = load_state(stem)
        check_random(generators)
        if self.args.process_index < len(generators):
            restore_random_state(generators[self.args.process_index])
