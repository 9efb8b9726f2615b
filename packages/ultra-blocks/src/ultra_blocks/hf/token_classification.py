"""The encoder with a head over every token: UltraForTokenClassification."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from ultra_blocks.encoder.label_head import LabelHead
from ultra_blocks.encoder.mlm_head import mlm_loss
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.head_model import UltraHeadModel
from ultra_blocks.hf.losses import with_losses

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoModelForTokenClassification  # isort: skip
from transformers.modeling_outputs import TokenClassifierOutput  # isort: skip


class UltraForTokenClassification(UltraHeadModel):
    """An encoder that puts every token into one of ``config.num_labels`` classes, to find names or slots."""

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        labels = cast(int, config.num_labels)  # transformers counts its id2label
        self.classifier = LabelHead(config.hidden_size, labels, dropout=config.dropout)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        document_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Classify tokens; takes the arguments of :meth:`UltraModel.forward`, and:

        Args:
            labels: ``(B, T)`` class indices, -100 at tokens that do not count. The logits are ``(B, T, K)``
                with or without them.
            num_items_in_batch: number of labels in all micro-batches of an update, see
                :class:`UltraForMaskedLM`.
        """
        tensors = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self.model(*tensors, document_ids, return_dict=True, **kwargs)
        logits, loss = self.classifier(encoded.last_hidden_state), None
        if labels is not None:
            loss = mlm_loss(logits.flatten(0, -2), labels.flatten(), num_items=num_items_in_batch)
            loss = with_losses(loss, encoded.losses, labels, num_items_in_batch)
        return self._output(TokenClassifierOutput, encoded, return_dict, loss=loss, logits=logits)


AutoModelForTokenClassification.register(UltraHFConfig, UltraForTokenClassification, exist_ok=True)
