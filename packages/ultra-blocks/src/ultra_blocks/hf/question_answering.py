"""The encoder with a head that finds the answer in a text: UltraForQuestionAnswering."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.encoder.label_head import LabelHead
from ultra_blocks.hf.arguments import refuse_packing
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.head_model import UltraHeadModel
from ultra_blocks.hf.losses import with_losses

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoModelForQuestionAnswering  # isort: skip
from transformers.modeling_outputs import QuestionAnsweringModelOutput  # isort: skip


class UltraForQuestionAnswering(UltraHeadModel):
    """An encoder that says where in a text the answer to a question begins and ends, as in BERT.

    Differs from BERT: no answer begins or ends in padding, whose logits are the smallest number of their
    dtype. The loss then does not depend on how much padding there is.
    """

    accepts_loss_kwargs = False

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        self.qa_outputs = LabelHead(config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput | tuple[Any, ...]:
        """Find answers; takes the arguments of :meth:`UltraModel.forward`, and:

        Args:
            start_positions: ``(B,)`` columns of the first tokens of the answers. Columns outside of the
                batch do not count.
            end_positions: ``(B,)`` columns of their last tokens. The loss is the mean of two cross entropies
                over the columns of a row.

        Raises:
            ValueError: answers are given for packed documents, of which a row has several.
        """
        if start_positions is not None or end_positions is not None:
            why = "start_positions and end_positions are those of one text in each row"
            refuse_packing(type(self).__name__, why, kwargs)
        tensors = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self.model(*tensors, return_dict=True, **kwargs)
        logits = self.qa_outputs(encoded.last_hidden_state)
        if attention_mask is not None:
            logits = logits.masked_fill(~attention_mask.bool()[..., None], torch.finfo(logits.dtype).min)
        starts, ends = logits.unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(starts, ends, start_positions, end_positions)
            loss = with_losses(loss, encoded.losses, start_positions, None)
        fields = {"loss": loss, "start_logits": starts, "end_logits": ends}
        return self._output(QuestionAnsweringModelOutput, encoded, return_dict, **fields)


AutoModelForQuestionAnswering.register(UltraHFConfig, UltraForQuestionAnswering, exist_ok=True)
