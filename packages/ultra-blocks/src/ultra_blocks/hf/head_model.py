"""What the models with a new head on an encoder have in common."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.models import UltraModel, UltraModelOutput, UltraPreTrainedModel, model_output


class UltraHeadModel(UltraPreTrainedModel):
    """The encoder ``model`` under a head that is trained for one task.

    A checkpoint with another head gives its encoder; this head then starts from random weights.
    """

    accepts_loss_kwargs = True
    _keys_to_ignore_on_load_unexpected = [r"^head\."]  # noqa: RUF012 (the weights of another head)

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        self.model = UltraModel(config)

    def _output(
        self, kind: type[Any], encoded: UltraModelOutput, return_dict: bool | None, **fields: Tensor | None
    ) -> Any:
        """Return an output of a kind with what the encoder returned, and with the loss and the logits."""
        states = {"hidden_states": encoded.hidden_states, "attentions": encoded.attentions}
        return model_output(self, kind(**fields, **states), return_dict)
