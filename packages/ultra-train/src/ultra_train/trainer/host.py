"""The trainer of transformers behind ultra's mix-ins: as a type, and the part of it that helpers rely on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor
from transformers import TrainerState, TrainingArguments


class HostTrainer(Protocol):
    """What the update gate uses of a trainer of the Hugging Face family.

    ``Trainer``, ``SentenceTransformerTrainer`` and ``SparseEncoderTrainer`` have these members; mypy checks
    the first against the installed version of transformers.
    """

    args: TrainingArguments
    model: Any
    optimizer: Any
    state: TrainerState
    accelerator: Any
    _tr_loss: Tensor
    """Sum of the losses since the last line of the log."""

    def compute_loss_context_manager(self) -> AbstractContextManager[Any]:
        """Return the context of every forward pass (mixed precision)."""
        ...

    def compute_loss(self, model: Any, inputs: Any, *, num_items_in_batch: Any = None) -> Any:
        """Return the share of a micro-batch in the loss of its update."""
        ...

    def _prepare_inputs(self, inputs: Any) -> Any:
        """Move a micro-batch to the device."""
        ...


if TYPE_CHECKING:
    from transformers import Trainer

    MixinBase = Trainer

    def _fits(trainer: Trainer) -> HostTrainer:
        return trainer

else:
    # For mypy the mix-ins derive from the trainer that they precede, so that every override must
    # fit the installed version of transformers; at run time they can precede any of its subclasses.
    MixinBase = object
