"""Keyword arguments that transformers hands to every model, whether they say anything to it or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_core.errors import did_you_mean

_WITHOUT_EFFECT = frozenset({"use_cache", "cache_position", "cu_seq_lens_k", "max_length_q", "max_length_k"})
"""Arguments that change nothing in an encoder, whatever their value."""

_NOT_SUPPORTED = {
    "head_mask": "heads cannot be switched off",
    "encoder_hidden_states": "there is no cross-attention",
    "encoder_attention_mask": "there is no cross-attention",
    "past_key_values": "an encoder keeps no cache",
    "is_causal": "the direction is that of the config: causal: true",
    "output_router_logits": "the losses of experts are in the output as losses",
}
"""Arguments on which models with other features act -> why they are refused when they are set."""

_DOCUMENTS = ("cu_seq_lens_q", "seq_idx")
"""Other names under which packed documents are given."""


def one_of(model: str, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """Return the ids or the embeddings of a batch, whichever are given.

    Raises:
        ValueError: neither or both are given.
    """
    if input_ids is not None and inputs_embeds is not None:
        raise ValueError(f"{model}: give input_ids or inputs_embeds, not both")
    given = input_ids if input_ids is not None else inputs_embeds
    if given is None:
        raise ValueError(f"{model}: input_ids or inputs_embeds is required; both are None")
    return given


def documents_of(model: str, given: Tensor, arguments: Mapping[str, Any]) -> Tensor | None:
    """Check the further arguments of a forward pass, and return the documents that they describe.

    Args:
        model: name of the model, for messages.
        given: the ids or embeddings of the batch ``(B, T, ...)``.
        arguments: name -> value. ``cu_seq_lens_q (S + 1,)`` are the borders of the documents in a batch of
            one row, as ``DataCollatorWithFlattening`` gives them; ``seq_idx (B, T)`` are document numbers.

    Returns:
        ``(B, T)`` document numbers, or None.

    Raises:
        TypeError: no model of transformers takes an argument of this name.
        ValueError: an argument is set that this encoder cannot obey, or borders are given for several rows.
    """
    for name, value in arguments.items():
        if name in _NOT_SUPPORTED:
            if value is not None and value is not False:
                raise ValueError(f"{model}: {name} is not supported: {_NOT_SUPPORTED[name]}")
        elif name not in _WITHOUT_EFFECT and name not in _DOCUMENTS:
            known = [*_WITHOUT_EFFECT, *_NOT_SUPPORTED, *_DOCUMENTS, "attention_mask", "document_ids"]
            raise TypeError(f"{model}: unexpected keyword argument {name!r}.{did_you_mean(name, known)}")
    if (numbers := arguments.get("seq_idx")) is not None:
        return torch.as_tensor(numbers).expand(given.shape[:2])
    if (borders := arguments.get("cu_seq_lens_q")) is None:
        return None
    if len(given) != 1:
        raise ValueError(f"{model}: cu_seq_lens_q is for a batch of one row, given {len(given)}")
    columns = torch.arange(given.shape[1], device=given.device)
    return torch.bucketize(columns, borders[1:].to(given.device), right=True)[None]


def refuse_packing(model: str, why: str, arguments: Mapping[str, Any]) -> None:
    """Raise if the further arguments of a forward pass describe packed documents.

    Args:
        model: name of the model, for messages.
        why: the reason, for messages.
        arguments: name -> value.

    Raises:
        ValueError: they do.
    """
    for name in ("document_ids", *_DOCUMENTS):
        if arguments.get(name) is not None:
            raise ValueError(f"{model}: {name} is not supported here: {why}")


def known_token_types(model: str, token_type_ids: Tensor | None, layout: Layout, types: int) -> Tensor | None:
    """Return the token types if a model has embeddings of them, and None if it has none.

    Reads values, which synchronises an accelerator.

    Args:
        model: name of the model, for messages.
        token_type_ids: ``(B, T)``, or None; values at padding may be anything.
        layout: real tokens of the batch.
        types: number of token types that have embeddings.

    Raises:
        ValueError: the shape is another, or a token has a type without an embedding, other than 0.
    """
    if token_type_ids is None:
        return None
    layout.check(token_type_ids)
    if not torch.compiler.is_compiling():
        real = token_type_ids[layout.mask]
        wrong = (real < 0) | (real >= max(1, types))
        if wrong.any():
            raise ValueError(_without_embedding(model, int(real[wrong][0]), types))
    return token_type_ids if types else None


def _without_embedding(model: str, found: int, types: int) -> str:
    if types:
        return (
            f"{model}: token_type_ids has the value {found}, but this model has embeddings of the types 0 to "
            f"{types - 1} (type_vocab_size: {types})"
        )
    return (
        f"{model}: token_type_ids has values other than 0, but this model has no embeddings of token types "
        "(type_vocab_size: 0): the separator tells two texts apart. Let the tokenizer leave them out: "
        'tokenizer.model_input_names = ["input_ids", "attention_mask"]'
    )
