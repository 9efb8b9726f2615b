"""The base of the transformers models, and UltraModel, the encoder without a head."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ultra_blocks.encoder import Encoder
from ultra_blocks.encoder.classification_head import ClassificationHead
from ultra_blocks.encoder.label_head import LabelHead
from ultra_blocks.encoder.mlm_head import MLMHead
from ultra_blocks.hf.arguments import documents_of, known_token_types, one_of
from ultra_blocks.hf.attentions import recorded_weights
from ultra_blocks.hf.config import UltraHFConfig
from ultra_blocks.hf.implementation import use_attention
from ultra_blocks.hf.layers import UltraEncoder
from ultra_blocks.hf.pooling import pool
from ultra_blocks.init import reset_buffers
from ultra_blocks.layout import Layout, PackedRows, pack_documents

# ultra_blocks.hf.config reports a missing transformers
from transformers import AutoConfig, AutoModel, PreTrainedModel  # isort: skip
from transformers.modeling_outputs import BaseModelOutputWithPooling  # isort: skip


_WORTHWHILE = 0.8
"""Share of the places of a batch up to which packing its rows pays for the copies."""


@dataclass
class UltraModelOutput(BaseModelOutputWithPooling):
    """Output of transformers, with auxiliary losses by name (of mixtures of experts), summed over layers."""

    losses: dict[str, Tensor] | None = None


class UltraPreTrainedModel(PreTrainedModel):
    """Base of all models: initialisation, saving and loading of weights."""

    config_class = UltraHFConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["UltraEncoderLayer", "UltraPostNormLayer"]  # noqa: RUF012 (transformers reads a plain class attribute)

    def reset_parameters(self) -> None:
        """Initialise all weights."""
        for module in self.modules():
            if isinstance(module, Encoder):
                module.reset_parameters()
            elif isinstance(module, MLMHead | ClassificationHead | LabelHead):
                module.reset_parameters(std=self.config.initializer_range)

    def init_weights(self) -> None:
        """Tie weights, which constructors have initialised."""
        self.tie_weights(recompute_mapping=False)

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Initialise the weights that are missing from a checkpoint, and keep those loaded from it.

        Buffers that no checkpoint holds are computed anew.
        """
        tensors = [*self.parameters(), *self.buffers()]
        loaded = [t for t in tensors if getattr(t, "_is_hf_initialized", False)]
        if len(loaded) == len(tensors):
            return
        kept = [t.detach().clone() for t in loaded]
        super().initialize_weights()
        self.reset_parameters()
        for tensor, value in zip(loaded, kept, strict=True):
            tensor.copy_(value)
        reset_buffers(self)

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """Compute attention by kernels (``sdpa``) or with all scores in memory (``eager``).

        Raises:
            ValueError: there is no other implementation, or a block has one only; the old one stays.
        """
        chosen = attn_implementation
        if isinstance(chosen, dict):
            chosen = chosen.get("", self.config._attn_implementation)
        for module in self.modules():
            if isinstance(module, Encoder):
                use_attention(module, chosen)
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Do nothing: the code is in an installed package and must not be copied beside the weights."""


class UltraModel(UltraPreTrainedModel):
    """An encoder without a head.

    ``last_hidden_state (B, T, D)`` is zero at padding. ``pooler_output (B, D)`` is the hidden state of the
    first real token of each row, without further weights; for packed documents it is ``(S, D)``, one state of
    each document.

    Attributes:
        unpad_inputs: compute padded batches in fewer rows, each with the documents of several: the same
            outputs up to rounding, in less time where a fifth or more of a batch is padding. Not saved.
    """

    unpad_inputs: bool = False
    _keys_to_ignore_on_load_unexpected = [r"^head\."]  # noqa: RUF012 (the weights of a head)

    def __init__(self, config: UltraHFConfig) -> None:
        super().__init__(config)
        self.encoder = UltraEncoder(config.to_ultra())
        use_attention(self.encoder, str(config._attn_implementation))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding table."""
        return self.encoder.embeddings.tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding table."""
        self.encoder.embeddings.tokens = cast(nn.Embedding, value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        document_ids: Tensor | None = None,
        pooling: str = "cls",
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> UltraModelOutput | tuple[Any, ...]:
        """Encode a batch.

        Args:
            input_ids: ``(B, T)``.
            attention_mask: ``(B, T)``, 1 at real tokens, which may be anywhere, and 0 at padding; None: no
                padding.
            token_type_ids: ``(B, T)`` types of the tokens; None: all are 0. If the config has
                ``type_vocab_size: 0``, there are no embeddings of types and all must be 0.
            position_ids: ``(B, T)`` positions; None: the real tokens of each document are counted from 0.
            inputs_embeds: ``(B, T, D)`` instead of ids (``(B, T, R)`` if the embeddings are factorized).
            document_ids: ``(B, T)`` ids of the documents packed into each row, not decreasing; documents do
                not attend to each other. None: one document per row.
            pooling: what ``pooler_output`` is: ``cls``, the state of the first token; ``mean`` or ``max`` of
                all states.
            output_hidden_states: return the outputs of the embeddings and of every layer.
            output_attentions: return the attention weights ``(B, H, T, T)`` of every layer, which are
                computed for it alone.
            return_dict: False: return a plain tuple.
            **kwargs: arguments that transformers hands to every model. ``cu_seq_lens_q`` and ``seq_idx``
                describe packed documents; others have no effect, or are refused if they are set.

        Raises:
            ValueError: neither ids nor embeddings are given, or both, the mask has another shape or values
                other than 0 and 1, a token type has no embedding, or something is requested that an encoder
                does not have, such as the attention weights of a block without any.
            TypeError: no model of transformers takes an argument of that name.
        """
        name = type(self).__name__
        given = one_of(name, input_ids, inputs_embeds)
        documents = documents_of(name, given, kwargs)
        layout = _layout(
            given, attention_mask, documents if document_ids is None else document_ids, position_ids
        )
        types = known_token_types(name, token_type_ids, layout, self.config.type_vocab_size)
        collect = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        watch = self.config.output_attentions if output_attentions is None else output_attentions
        rows = self._rows(layout) if self.unpad_inputs and not (collect or watch) else None
        attentions: list[Tensor] = []
        if rows is None:
            with recorded_weights(self.encoder, attentions) if watch else nullcontext():
                hidden, losses, states = self.encoder(
                    input_ids, layout, inputs_embeds, types, collect=bool(collect)
                )
        else:
            ids, embeds, types = (
                None if x is None else rows.pack(x) for x in (input_ids, inputs_embeds, types)
            )
            packed, losses, states = self.encoder(ids, rows.layout, embeds, types)
            hidden = rows.unpack(packed)
        output = UltraModelOutput(
            last_hidden_state=hidden,
            pooler_output=pool(hidden, layout, pooling),
            hidden_states=states or None,
            attentions=tuple(attentions) or None,
            losses=losses or None,
        )
        return model_output(self, output, return_dict)

    def _rows(self, layout: Layout) -> PackedRows | None:
        """Return the rows into which a batch is packed, or None if that is not worthwhile or not possible."""
        separate = self.encoder.limits.unpacked is None  # every block keeps packed documents apart
        if not (layout.padded and separate) or torch.compiler.is_compiling():
            return None
        return pack_documents(layout, at_most=_WORTHWHILE)


def _layout(
    given: Tensor, mask: Tensor | None, documents: Tensor | None, position_ids: Tensor | None
) -> Layout:
    if mask is None and documents is None and position_ids is None:
        return Layout.full(given.shape[0], given.shape[1], given.device)
    if mask is None:
        mask = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
    elif mask.shape != given.shape[:2]:
        raise ValueError(
            f"attention_mask must be (batch, length) {tuple(given.shape[:2])}, given {tuple(mask.shape)}; "
            "for packed documents give document_ids"
        )
    if position_ids is not None:
        position_ids = position_ids.expand_as(mask)
    return Layout.from_mask(mask, documents, position_ids)


def model_output(model: UltraPreTrainedModel, output: Any, return_dict: bool | None) -> Any:
    """Return the output, as a tuple if ``return_dict`` (by default the config) says so."""
    wanted = model.config.return_dict if return_dict is None else return_dict
    return output if wanted else output.to_tuple()


AutoConfig.register("ultra", UltraHFConfig, exist_ok=True)
AutoModel.register(UltraHFConfig, UltraModel, exist_ok=True)
