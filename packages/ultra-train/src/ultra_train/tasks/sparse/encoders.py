"""The encoders of sparse presets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router
from torch import nn

from ultra_core.errors import UltraError
from ultra_train.embeddings.building import (
    Loading,
    csr_encoder,
    inference_free_splade_encoder,
    splade_encoder,
)
from ultra_train.embeddings.heads import head_report
from ultra_train.embeddings.loading import load_encoder
from ultra_train.embeddings.splade.chunked import pool_in_chunks
from ultra_train.embeddings.splade.raw_logits import use_raw_logits
from ultra_train.tasks.sparse.preset import SparseFile

KEY = "model.base_model"
Say = Callable[[str], None]


def build_encoder(preset: SparseFile, say: Say) -> SparseEncoder:
    """Return the encoder that a preset describes, on the CPU, with weights in fp32.

    Args:
        preset: the sections.
        say: is told what a user should know about the base model.

    Raises:
        UltraError: the base model is missing, or of another kind than the architecture needs.
    """
    model = preset.model
    options: Loading = {
        "max_length": preset.training.max_seq_length,
        "trust_remote_code": model.trust_remote_code,
        "device": "cpu",
        "key": KEY,
        "say": say,
    }
    if model.load_pretrained_sparse_encoder:
        return _continued(preset)
    if model.architecture == "csr":
        return csr_encoder(
            model.base_model, k=model.csr_k, k_aux=model.csr_k_aux, hidden_dim=model.csr_hidden_dim, **options
        )
    splade: dict[str, Any] = {"raw_logits": model.patch_sigmoid_for_sparsity, **options}
    if model.architecture == "splade":
        return splade_encoder(model.base_model, model.pooling_strategy, **splade)
    return inference_free_splade_encoder(
        model.base_model,
        model.pooling_strategy,
        freeze_query_weights=model.freeze_static_embedding,
        **splade,
    )


def _continued(preset: SparseFile) -> SparseEncoder:
    """Return the saved sparse encoder that a preset continues."""
    model = preset.model
    encoder: nn.Module = load_encoder(
        model.base_model,
        device="cpu",
        trust_remote_code=model.trust_remote_code,
        max_length=preset.training.max_seq_length,
        dtype=torch.float32,
        key=KEY,
    )
    if not isinstance(encoder, SparseEncoder):
        raise UltraError(
            f"{KEY}: {model.base_model} is no sparse encoder; leave out model.load_pretrained_sparse_encoder "
            "to build one on it"
        )
    routed = any(isinstance(module, Router) for module in encoder.children())
    if routed != (model.architecture == "inference-free-splade"):
        raise UltraError(
            f"{KEY}: {model.base_model} has {'an' if routed else 'no'} encoder of its own for queries, "
            f"unlike the architecture {model.architecture}; set model.architecture to "
            f"{'inference-free-splade' if routed else 'splade'}"
        )
    if model.patch_sigmoid_for_sparsity:
        use_raw_logits(encoder)
        pool_in_chunks(encoder)  # not possible with the head as it was
    return encoder


def check_head(encoder: SparseEncoder, texts: Sequence[str], say: Say) -> None:
    """Say what the head of a base model gives SPLADE to start from.

    Args:
        encoder: the encoder before training.
        texts: some texts of the data.
        say: prints a line.

    Raises:
        UltraError: no training can give zeros, or anything else than zeros.
    """
    report = head_report(encoder, texts)
    if report is None:
        return
    first, *advice = report.lines()
    if report.squashed or report.positive == 0:
        raise UltraError(f"{KEY}: {'; '.join([first, *advice])}")
    for line in (first, *advice):
        say(f"head: {line}")
