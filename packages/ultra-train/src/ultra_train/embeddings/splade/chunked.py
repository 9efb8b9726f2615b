"""SPLADE pooling that applies the output layer itself, to some positions at a time.

Nothing that is saved changes: the modules are those of sentence-transformers. Inside a ``Transformer`` that
is followed by a ``SpladePooling``, the output layer gets no positions, and the states that it would have got
go to the pooling instead of the logits.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from ultra_train.embeddings.splade.max_logits import chunks, max_logits
from ultra_train.embeddings.splade.modules import splade_pairs
from ultra_train.embeddings.splade.output_layer import output_layer, why_not_exact

_BYTES = {"cpu": 64 << 20}
_BYTES_OF_DEVICES = 256 << 20
"""Size of the logits that are held at a time, on the processor and on other devices."""

_STATES = "states_before_output_layer"


def pool_in_chunks(encoder: nn.Module) -> list[str]:
    """Let every SPLADE pooling of an encoder apply the output layer in chunks, where that is exact.

    Embeddings, loss and gradients stay the same. The chunks have ``SpladePooling.chunk_size`` positions if it
    is set, or else as many as need 64 MB (256 MB on a GPU).

    Args:
        encoder: a ``SparseEncoder``, or another sequence of modules.

    Returns:
        why the logits of a whole batch are still needed, one line for every such pooling.
    """
    reasons = []
    for transformer, pooling in splade_pairs(encoder):
        if "forward" in vars(pooling):  # done before
            continue
        layer = output_layer(transformer.model)
        reason = why_not_exact(transformer.model, layer)
        if layer is None or reason is not None:
            reasons.append(f"SPLADE needs the logits of a whole batch at once: {reason}")
        else:
            _ChunkedPooling(transformer, pooling, layer).attach()
    return reasons


class _ChunkedPooling:
    """The forward of a pooling, and hooks that bring it states instead of logits.

    The hooks are methods, so that copies of the encoder, also in other processes, have copies of them.
    """

    def __init__(self, transformer: Transformer, pooling: SpladePooling, layer: nn.Module) -> None:
        self.transformer, self.pooling, self.layer = transformer, pooling, layer
        self.inside = False
        self.states: Tensor | None = None

    def attach(self) -> None:
        self.transformer.register_forward_pre_hook(self._enter)
        self.layer.register_forward_pre_hook(self._take)
        self.transformer.register_forward_hook(self._leave, always_call=True)
        self.pooling.forward = self._pool  # type: ignore[method-assign]

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.inside, self.states = True, None

    def _take(self, layer: nn.Module, args: Any) -> Any:
        """Keep the states ``(B, T, D)``, and give the output layer those of no position."""
        if not self.inside or not args or args[0].dim() != 3:
            return None
        self.states = args[0]
        return (args[0][:, :0], *args[1:])

    def _leave(self, module: nn.Module, args: Any, features: Any) -> None:
        if self.states is not None and isinstance(features, MutableMapping):
            features[_STATES] = self.states
        self.inside, self.states = False, None

    def _pool(self, features: Any) -> Any:
        states = features.pop(_STATES, None)
        if states is None:
            return SpladePooling.forward(self.pooling, features)
        mask = features.get("attention_mask")
        if "cu_seq_lens_q" in features:
            lengths = features["cu_seq_lens_q"].diff().tolist()
            states = pad_sequence(states.squeeze(0).split(lengths), batch_first=True)
            columns = torch.arange(states.shape[1], device=states.device)
            mask = columns < features["cu_seq_lens_q"].diff()[:, None]
        elif mask is None:
            mask = states.new_ones(states.shape[:2])
        pooled = pool(self.layer, states, mask.bool(), self.pooling)
        if self.pooling.embedding_dimension is None:
            self.pooling.embedding_dimension = pooled.shape[1]
        features["sentence_embedding"] = pooled
        return features


def pool(layer: nn.Module, states: Tensor, mask: Tensor, pooling: SpladePooling) -> Tensor:
    """Return the SPLADE embeddings ``(B, V)`` of states in front of the output layer.

    Args:
        layer: maps states ``(..., D)`` to logits ``(..., V)``.
        states: ``(B, T, D)``.
        mask: ``(B, T)`` bool, True at real tokens.
        pooling: says whether to take the maximum or the sum over tokens, of which activation.
    """
    twice = pooling.activation_function == "log1p_relu"
    chunk = pooling.chunk_size or _positions(layer, states)
    if pooling.pooling_strategy == "max" and type(layer) is nn.Linear:
        return _activated(max_logits(states, layer.weight, layer.bias, mask, chunk), twice)
    return _recomputed(layer, states, mask, chunk, twice=twice, maximum=pooling.pooling_strategy == "max")


def _positions(layer: nn.Module, states: Tensor) -> int:
    """Return the positions whose logits need the memory that a chunk may take."""
    size = _BYTES.get(states.device.type, _BYTES_OF_DEVICES)
    tokens = int(getattr(layer, "out_features", 32_768))
    return max(1, size // (len(states) * tokens * states.element_size()))


def _activated(logits: Tensor, twice: bool) -> Tensor:
    weights = logits.relu().log1p()
    return weights.log1p() if twice else weights


def _recomputed(
    layer: nn.Module, states: Tensor, mask: Tensor, chunk: int, *, twice: bool, maximum: bool
) -> Tensor:
    """Return the embeddings with any output layer; the backward pass computes the logits of a chunk again."""

    def of_chunk(part: Tensor, real: Tensor | None) -> Tensor:
        weights = _activated(layer(part), twice)
        if real is not None:
            weights = weights * real[..., None]
        return weights.amax(1) if maximum else weights.sum(1)

    combine = torch.maximum if maximum else torch.add
    pooled: Tensor | None = None
    for start, some, real in chunks(mask, chunk):
        part = states[:, start : start + chunk]
        part = part if some is None else part[some]
        found = checkpoint(of_chunk, part, real, use_reentrant=False, preserve_rng_state=False)
        if some is not None:
            found = found.new_zeros(len(states), found.shape[1]).index_copy(0, some, found)
        pooled = found if pooled is None else combine(pooled, found)
    return layer(states[:, :1]).sum(1) * 0 if pooled is None else pooled
