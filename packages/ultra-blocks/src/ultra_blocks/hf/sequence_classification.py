"""The encoder with a head over whole texts: UltraForSequenceClassification."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from ultra_blocks.encoder.classification_head import ClassificationHead
from ultra_blocks.encoder.mlm_head import share_of_update
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.head_model import UltraHeadModel
from ultra_blocks.hf.losses import with_losses

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoModelForSequenceClassification  # isort: skip
from transformers.modeling_outputs import SequenceClassifierOutput  # isort: skip


class UltraForSequenceClassification(UltraHeadModel):
    """An encoder that puts a text or a pair of texts into classes, or gives it scores.

    ``config.num_labels`` is the number of classes, ``config.classifier_pooling`` how the states of tokens
    become that of a text, and ``config.problem_type`` the loss: ``regression`` (the squared error),
    ``single_label_classification`` or ``multi_label_classification`` (cross entropies). Without one, it
    follows from the labels as in other models of transformers.
    """

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        labels = cast(int, config.num_labels)  # transformers counts its id2label
        self.classifier = ClassificationHead(config.hidden_size, labels, dropout=config.dropout)
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
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify texts; takes the arguments of :meth:`UltraModel.forward`, and:

        Args:
            labels: ``(B,)`` class indices or values, or ``(B, K)`` values or 0 and 1 for each of K labels.
                The logits are ``(B, K)`` with or without them. Packed documents have one row of logits and
                labels each, in reading order.
            num_items_in_batch: number of labels in all micro-batches of an update, see
                :class:`UltraForMaskedLM`.
        """
        tensors = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        pooling = self.config.classifier_pooling
        encoded = self.model(*tensors, document_ids, pooling=pooling, return_dict=True, **kwargs)
        logits, loss = self.classifier(encoded.pooler_output), None
        if labels is not None:
            mean = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
            loss = mean * share_of_update(labels, num_items_in_batch, mean.dtype)
            loss = with_losses(loss, encoded.losses, labels, num_items_in_batch)
        return self._output(SequenceClassifierOutput, encoded, return_dict, loss=loss, logits=logits)


AutoModelForSequenceClassification.register(UltraHFConfig, UltraForSequenceClassification, exist_ok=True)
