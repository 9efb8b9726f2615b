"""The encoder with the masked language modelling head: UltraForMaskedLM and SpanishMoEBERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ultra_blocks.encoder.mlm_head import MLMHead, masked_positions, mlm_loss
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.losses import with_losses
from ultra_blocks.hf.models import UltraModel, UltraModelOutput, UltraPreTrainedModel, model_output

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoModelForMaskedLM  # isort: skip
from transformers.modeling_outputs import MaskedLMOutput  # isort: skip


class UltraForMaskedLM(UltraPreTrainedModel):
    """An encoder with the masked language modelling head; the class that is trained and saved."""

    accepts_loss_kwargs = True
    _tied_weights_keys = {  # noqa: RUF012 (transformers reads a plain class attribute)
        "head.decoder.weight": "model.encoder.embeddings.tokens.weight"
    }

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        self.model = UltraModel(config)
        self.head = MLMHead.from_config(self.model.encoder.config)
        if self.head.factor is not None:
            self._tied_weights_keys = {
                **self._tied_weights_keys,
                "head.factor.weight": "model.encoder.embeddings.projection.weight",
            }
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """Return the decoder."""
        return self.head.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the decoder."""
        self.head.decoder = new_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        document_ids: Tensor | None = None,
        masked_only: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Predict masked tokens; takes the arguments of :meth:`UltraModel.forward`, and:

        Args:
            labels: ``(B, T)`` token ids at masked positions, -100 elsewhere.
            masked_only: with labels, decode masked positions only, so that the logits are ``(M, V)`` for the
                M labels other than -100 in reading order; else the logits are ``(B, T, V)``. None: in
                training mode, unless the config has ``sparse_prediction=False``.
            num_items_in_batch: number of labels in all micro-batches of an update, by which the sum of the
                losses is divided, so that accumulation gives the mean over tokens. Auxiliary losses are
                weighted by the fraction of these labels in this micro-batch. None: the labels of this one.
        """
        tensors = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self.model(*tensors, document_ids, return_dict=True, **kwargs)
        if masked_only is None:
            masked_only = self.training and self.config.sparse_prediction
        hidden, loss = encoded.last_hidden_state, None
        if labels is None:
            logits = self.head(hidden)
        else:
            targets = labels.flatten()
            if masked_only:
                hidden, targets = masked_positions(hidden, labels)
            logits = self.head(hidden)
            loss = mlm_loss(logits.flatten(0, -2), targets, num_items=num_items_in_batch)
            loss = with_losses(loss, encoded.losses, targets, num_items_in_batch)
        return model_output(self, self._output(encoded, loss, logits), return_dict)

    def _output(self, encoded: UltraModelOutput, loss: Tensor | None, logits: Tensor) -> MaskedLMOutput:
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )


@dataclass
class SpanishMoEBERTOutput(MaskedLMOutput):
    """Outputs of the encoder and the head of a :class:`SpanishMoEBERT`, in the fields of transformers."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    losses: dict[str, Tensor] | None = None


class SpanishMoEBERT(UltraForMaskedLM):
    """Encoder and head in one: text embeddings and predictions of masked tokens from the same call.

    Weights and config are those of :class:`UltraForMaskedLM`, so that each can load what the other saved; the
    preset ``spanish_moe_bert`` defines the sizes. The output has
    ``last_hidden_state (B, T, D)``, ``pooler_output (B, D)`` (the state of the first real token, ``[CLS]``),
    ``logits`` and with labels the ``loss``. The logits of every position cost as much as several layers.
    If only embeddings are needed, ``AutoModel`` and ``SentenceTransformer`` load the model without the head.
    """

    def _output(self, encoded: UltraModelOutput, loss: Tensor | None, logits: Tensor) -> MaskedLMOutput:
        return SpanishMoEBERTOutput(
            loss=loss,
            logits=logits,
            last_hidden_state=encoded.last_hidden_state,
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            losses=encoded.losses,
        )


AutoModelForMaskedLM.register(UltraHFConfig, UltraForMaskedLM, exist_ok=True)
