"""The encoder with a head that chooses one of several texts: UltraForMultipleChoice."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.encoder.classification_head import ClassificationHead
from ultra_blocks.hf.arguments import refuse_packing
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.losses import with_losses
from ultra_blocks.hf.models import UltraModel, UltraPreTrainedModel, model_output

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoModelForMultipleChoice  # isort: skip
from transformers.modeling_outputs import MultipleChoiceModelOutput  # isort: skip


class UltraForMultipleChoice(UltraPreTrainedModel):
    """An encoder that chooses one of C texts, each a question with one of its answers.

    ``config.classifier_pooling`` says how the states of tokens become that of a text. A checkpoint with
    another head gives its encoder; this head then starts from random weights.
    """

    accepts_loss_kwargs = True
    _keys_to_ignore_on_load_unexpected = [r"^head\."]  # noqa: RUF012 (the weights of another head)

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        self.model = UltraModel(config)
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
        given = input_ids if input_ids is not None else inputs_embeds
        if given is None:
            raise ValueError("UltraForMultipleChoice: input_ids or inputs_embeds is required; both are None")
        tensors = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self.model(
            *(None if x is None else x.flatten(0, 1) for x in tensors),
            pooling=self.config.classifier_pooling,
            return_dict=True,
            **kwargs,
        )
        logits, loss = self.classifier(encoded.pooler_output).view(given.shape[:2]), None
        if labels is not None:
            loss = with_losses(F.cross_entropy(logits, labels), encoded.losses, labels, num_items_in_batch)
        output = MultipleChoiceModelOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )
        return model_output(self, output, return_dict)


AutoModelForMultipleChoice.register(UltraHFConfig, UltraForMultipleChoice, exist_ok=True)
