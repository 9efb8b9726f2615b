"""Reading checkpoints: what training, or only evaluation, continues from."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from ultra_optim.sharded import ShardedOptimizer
from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.system.random_state import restore_random_state, seed_process
from ultra_train.trainer.checkpoints.folders import CheckpointError, list_checkpoints
from ultra_train.trainer.checkpoints.resume import (
    PROGRESS,
    check_random,
    is_count,
    read_progress,
    same_kind,
)
from ultra_train.trainer.checkpoints.state_files import load_state
from ultra_train.trainer.log_lines import LogMixin
from ultra_train.trainer.loss_weights import LOSS_WEIGHTS, loss_weights
from ultra_train.trainer.optimizers import unwrapped
from ultra_train.trainer.out_of_memory import is_out_of_memory
from ultra_train.trainer.saving import TRAINING_WEIGHTS
from ultra_train.trainer.whole_model import fill_weights, named_weights

WEIGHTS = "model*.safetensors"
"""The files of the weights, one or several."""

logger = logging.getLogger(__name__)


class LoadingMixin(LogMixin):
    """Replaces how transformers' ``Trainer`` reads checkpoints; a part of ``UltraTrainerMixin``.

    Processes that share the parameters each read their part of them and of the optimizer's state.
    """

    def load_finished(self, folder: Path, model: nn.Module | None = None) -> None:
        """Read the weights for evaluation, the position in the data and the counters.

        Raises:
            CheckpointError: the checkpoint is of a model with other sizes, or was trained on other data.
        """
        try:
            self._load_weights(folder, model)
            self._load_loss_weights(folder)
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
        self._load_progress(folder)

    def _load_progress(self, folder: Path) -> None:
        """Restore the position in the data and the counters."""
        progress = read_progress(folder)
        here, there = self.settings.facts.get("data"), progress.get("data")
        if here != there:
            raise CheckpointError(
                f"{folder} was trained on other data than this run uses ({there}, now {here}), so its "
                "position in the data does not apply. Restore the data, the tokenizer and the keys "
                "batch_size, batching (a GPU packs rows unless it is set), max_length, seed and "
                "eval_fraction of training, or start a new run."
            )
        epoch, index = progress["position"]
        self.settings.stream.move_to((epoch, index))
        if index > len(self.settings.stream.loader):
            raise CheckpointError(f"{folder}: {PROGRESS} has a position outside of the data")
        before, now = progress.get("window_size"), self.window_size
        if is_count(before) and before != now:
            self._notice(
                f"an update now takes {now} micro-batches of all processes, and took {before} before"
            )
        self.tokens_seen = progress["tokens_seen"]
        self.training_seconds = progress.get("training_seconds", 0.0)  # older checkpoints have none
        self.gate.load_state_dict(progress)
        self.load_log_window(progress.get("window", {}))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Read the weights, the position and the counters that training continues from."""
        folder = Path(resume_from_checkpoint)
        self.load_finished(folder, model)
        if (folder / TRAINING_WEIGHTS).exists():
            fill_weights(self.model, load_file(folder / TRAINING_WEIGHTS))

    def _load_weights(self, folder: Path, model: nn.Module | None) -> None:
        """Read the weights, also those that are stored under other names than the modules have."""
        if self.sharded:
            self._load_parts(folder)
            return
        file = folder / SAFE_WEIGHTS_NAME
        if isinstance(self.model, PreTrainedModel) and file.is_file():
            with safe_open(file, "pt") as weights:
                foreign = not set(weights.keys()) <= set(self.model.state_dict())
            if foreign:
                with transformers_errors_only():
                    loaded = type(self.model).from_pretrained(folder, dtype=self.model.dtype)
                self._issue_warnings_after_load(self.model.load_state_dict(loaded.state_dict(), strict=False))
                return
        # the trainers of sentence-transformers take no model
        with transformers_errors_only():
            super()._load_from_checkpoint(str(folder), *([] if model is None else [model]))

    def _load_loss_weights(self, folder: Path) -> None:
        """Read the weights of losses that have some."""
        own, file = loss_weights(self), folder / LOSS_WEIGHTS
        read = load_file(file) if file.is_file() else {}
        self._refuse_other_names(own.keys() - read.keys(), read.keys() - own.keys())
        with torch.no_grad():
            for name, tensor in own.items():
                if tensor.shape != read[name].shape:
                    raise CheckpointError(f"{folder} does not fit the loss: {name} has another shape")
                tensor.copy_(read[name])

    def load_best(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Put the weights of the best checkpoint into the model, unless the present ones are better.

        All processes call this together, after training, which cannot go on from there.

        Args:
            metrics: those of the present weights.

        Returns:
            the metrics of the weights that the model then has.
        """
        policy = self.settings.retention
        found = policy.ranked(list_checkpoints(self.checkpoint_root)) if self.here.main else []
        best = self.here.share(found[0] if found and policy.is_better(found[0], metrics) else None)
        if best is None:
            return metrics
        own: dict[str, float] = best.manifest["metrics"]
        self._load_weights(best.path, None)
        self.optimizer = None  # its weights for evaluation are those of the last update
        self._notice(
            f"the model is that of update {best.step}: its {policy.metric} is {own[policy.metric]:.6g}, and "
            f"{metrics.get(policy.metric, math.nan):.6g} after the last update"
        )
        return own

    def _load_parts(self, folder: Path) -> None:
        """Read the part of every weight that this process holds; files are mapped, not read whole."""
        weights: dict[str, Tensor] = {}
        for file in sorted(folder.glob(WEIGHTS)):
            weights |= load_file(file)
        filled = fill_weights(self.model, weights)
        names = {name for name, _ in named_weights(self.model)}
        self._refuse_other_names(names - filled, weights.keys() - names)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse weights that do not fit; tied weights are stored once and do not count as missing."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        missing = set(load_result.missing_keys)
        loaded = {id(p) for name, p in parameters.items() if name not in missing}
        missing = {n for n in missing if n not in parameters or id(parameters[n]) not in loaded}
        self._refuse_other_names(missing, load_result.unexpected_keys)

    def _refuse_other_names(self, missing: Collection[str], unexpected: Collection[str]) -> None:
        if missing or unexpected:
            raise CheckpointError(
                f"the checkpoint does not fit this model: missing {sorted(missing)[:5]}, unexpected "
                f"{sorted(unexpected)[:5]}. Resume with the preset of the run."
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        folder = Path(checkpoint or "")
        if checkpoint is None or not (folder / "optimizer.json").exists():
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        optimizer = unwrapped(self.optimizer)
        state = load_state(folder / "optimizer", mapped=isinstance(optimizer, ShardedOptimizer))
        try:
            same_kind(_group_options(optimizer), state["param_groups"], "param_groups")
            optimizer.load_state_dict(state)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, CheckpointError) as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointError(
                f"{folder} does not fit the optimizer: {error}. Resume with the training.optimizer of the "
                "run, or start a new run with its model as base_model."
            ) from error
        schedule = load_state(folder / "schedule")
        same_kind(self.lr_scheduler.state_dict(), schedule, "schedule")
        try:
            self.lr_scheduler.load_state_dict(schedule)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"{folder}: the schedule cannot continue from its state ({error})"
            ) from error

    def _load_scaler(self, checkpoint: str | None) -> None:
        stem = Path(checkpoint or "") / "scaler"
        if checkpoint is None or self.accelerator.scaler is None or not stem.with_suffix(".json").exists():
            super()._load_scaler(checkpoint)
            return
        self.accelerator.scaler.load_state_dict(load_state(stem))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        stem = Path(checkpoint or "") / "random"
        if checkpoint is None or not stem.with_suffix(".json").exists():
            super()._load_rng_state(checkpoint)
            return
        generators = load_state(stem)
        check_random(generators)
        if len(generators) == self.here.count:
            restore_random_state(generators[self.here.rank])
            return
        seed_process(self.args.seed, self.state.global_step, self.here.rank)
        self._notice(
            f"the checkpoint is of {_processes(len(generators))}, and this run has "
            f"{_processes(self.here.count)}: random numbers (dropout) are drawn anew from training.seed"
        )

    def _notice(self, text: str) -> None:
        self.settings.on_event({"event": "notice", "step": self.state.global_step, "text": text})


def _group_options(optimizer: Any) -> list[dict[str, Any]]:
    return [{name: group[name] for name in group if name != "params"} for group in optimizer.param_groups]


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"
