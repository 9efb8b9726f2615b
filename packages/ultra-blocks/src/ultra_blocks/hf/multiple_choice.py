"""The encoder with a head that chooses one of several texts: UltraForMultipleChoice."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultra_blocks.encoder.classification_head import ClassificationHead
from ultra_blocks.encoder.mlm_head import mlm_loss
from ultra_blocks.hf.arguments import one_of, refuse_packing
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.head_model import UltraHeadModel
from ultra_blocks.hf.losses import with_losses

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoModelForMultipleChoice  # isort: skip
from transformers.modeling_outputs import MultipleChoiceModelOutput  # isort: skip


class UltraForMultipleChoice(UltraHeadModel):
    """An encoder that chooses one of C texts, each a question with one of its answers.

    ``config.classifier_pooling`` says how the states of tokens become that of a text.
    """

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        self.classifier = ClassificationHead(config.hidden_size, 1, dropout=config.dropout)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> MultipleChoiceModelOutput | tuple[Any, ...]:
        """Choose; takes the arguments of :meth:`UltraModel.forward`, but with C texts a row, and:

        Args:
            input_ids: ``(B, C, T)``, as the mask and the other tensors.
            labels: ``(B,)`` numbers of the right texts. The logits are ``(B, C)`` with or without them.
            num_items_in_batch: number of labels in all micro-batches of an update, see
                :class:`UltraForMaskedLM`.

        Raises:
            ValueError: packed documents are given, although the choices are texts of their own.
        """
        refuse_packing(type(self).__name__, "every choice is a row of its own", kwargs)
        given = one_of(type(self).__name__, input_ids, inputs_embeds)
        tensors = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        texts = (None if x is None else x.flatten(0, 1) for x in tensors)
        pooling = self.config.classifier_pooling
        encoded = self.model(*texts, pooling=pooling, return_dict=True, **kwargs)
        logits, loss = self.classifier(encoded.pooler_output).view(given.shape[:2]), None
        if labels is not None:
            loss = mlm_loss(logits, labels, num_items=num_items_in_batch)
            loss = with_losses(loss, encoded.losses, labels, num_items_in_batch)
        return self._output(MultipleChoiceModelOutput, encoded, return_dict, loss=loss, logits=logits)


AutoModelForMultipleChoice.register(UltraHFConfig, UltraForMultipleChoice, exist_ok=True)
