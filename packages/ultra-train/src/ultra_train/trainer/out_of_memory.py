"""Out of memory in a micro-batch: the update is computed again from smaller parts, and nothing is lost."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_blocks.encoder.post_step import after_step
from ultra_core.errors import UltraError
from ultra_train.system.random_state import random_state, restore_random_state
from ultra_train.trainer.base import TrainerBase

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")

REMEDIES = (
    "Halve training.batch_size and double training.gradient_accumulation_steps, which keeps the effective "
    "batch; shorten training.max_length; set training.activation_checkpointing=true; or take a compact "
    "preset (ultra-train list presets --guide lowest_vram). ultra-train estimate PRESET --fit-memory finds "
    "settings that fit, and ultra-train run PRESET --fit-memory uses them."
)


class OutOfMemory(UltraError):
    """The device has too little memory for the run as it is set up."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, says that memory ran out."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS):
            return True
        error = error.__cause__
    return False


class OutOfMemoryMixin(TrainerBase):
    """Divides micro-batches by rows when memory runs out; a part of ``UltraTrainerMixin``.

    The position in the data does not change: an update consumes the same micro-batches, whose rows run in
    ``parts`` passes. The update in which memory ran out is computed again from its first micro-batch, with
    the random numbers that it began with.

    Attributes:
        parts: passes that every micro-batch is divided into; 1 until memory runs out.
    """

    divides_rows: ClassVar[bool] = False
    """Whether the loss of a micro-batch is the sum of the losses of its rows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.parts = 1
        self._begun: Any = None
        self._done = 0
        super().__init__(*args, **kwargs)

    def update_begins(self) -> None:
        """Note the random numbers with which an update can be computed again."""
        self._done = 0
        self._begun = random_state() if self.settings.fit_memory else None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Compute the loss and the gradients of a micro-batch, in smaller parts when memory runs out.

        Raises:
            OutOfMemory: memory ran out, and smaller parts are not allowed or impossible.
        """
        pending = [inputs]
        while True:
            try:
                losses = [self._in_parts(model, each, num_items_in_batch) for each in pending]
            except (RuntimeError, MemoryError, UltraError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = next(iter(str(error).strip().splitlines()), "out of memory")
            else:
                self._done += 1
                return losses[-1]
            # outside of the handler, whose traceback keeps all activations alive
            self._divide(max(map(_rows, pending)), reason)
            self._begin_again()
            pending = [*self.gate.update.micro_batches[: self._done], inputs]

    def _in_parts(self, model: Any, inputs: Mapping[str, Any], num_items: Any) -> Tensor:
        losses = [
            super(OutOfMemoryMixin, self).training_step(model, part, num_items) for part in self._cut(inputs)
        ]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _cut(self, inputs: Mapping[str, Any]) -> Iterator[Any]:
        rows = _rows(inputs)
        if self.parts == 1 or rows < 2:
            yield inputs
            return
        size = -(-rows // self.parts)
        for start in range(0, rows, size):
            yield {
                name: value[start : start + size] if _has_rows(value, rows) else value
                for name, value in inputs.items()
            }

    def _divide(self, rows: int, reason: str) -> None:
        """Double the number of parts, or say why that is impossible."""
        step = self.state.global_step + 1
        where = f"memory ran out in update {step}, in a micro-batch of {rows} rows ({reason})"
        if not self.settings.fit_memory:
            raise OutOfMemory(f"{where}. {REMEDIES}")
        if not self.divides_rows or self.args.world_size > 1:
            why = "several processes must divide alike" if self.divides_rows else "its loss compares the rows"
            raise OutOfMemory(f"{where}, which cannot be divided while training: {why}. {REMEDIES}")
        if self.parts >= rows:
            raise OutOfMemory(f"{where}, and a pass was a single row already. {REMEDIES}")
        self.parts *= 2
        event = {"event": "out_of_memory", "step": step, "rows": rows, "parts": self.parts, "reason": reason}
        self.settings.on_event(event)

    def _begin_again(self) -> None:
        """Return to the beginning of the present update."""
        for group in self.optimizer.param_groups:  # accelerate's zero_grad waits for the end of the update
            for parameter in group["params"]:
                parameter.grad = None
        after_step(self.model, taken=False)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        restore_random_state(self._begun)


def _rows(inputs: Mapping[str, Any]) -> int:
    return max(
        (len(value) for value in inputs.values() if isinstance(value, Tensor) and value.dim()), default=0
    )


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == rows
