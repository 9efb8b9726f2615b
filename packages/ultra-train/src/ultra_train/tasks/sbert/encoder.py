"""The encoder that a run of sentence embeddings trains."""

from __future__ import annotations

from typing import Any

import torch

from ultra_core.errors import UltraError
from ultra_train.config.preset import Preset
from ultra_train.embeddings.building import dense_encoder
from ultra_train.hf.stateless import make_stateless
from ultra_train.tasks.base import Say
from ultra_train.tasks.sbert.options import SbertOptions

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build_encoder(preset: Preset, options: SbertOptions, say: Say) -> Any:
    """Return a ``SentenceTransformer`` of a base model and pooling, or one that is continued.

    Args:
        preset: the preset, which names the base model.
        options: its section ``training.sbert``.
        say: prints what a user should know about the model.

    Raises:
        UltraError: the base model cannot be loaded, or cannot read texts as long as they may be.
    """
    assert preset.base_model is not None
    model: Any = dense_encoder(
        preset.base_model,
        options.pooling_mode,
        max_length=options.max_seq_length,
        trust_remote_code=options.trust_remote_code,
        device="cpu",
        dtype=DTYPES[preset.training.weights_dtype],
        key="base_model",
        say=lambda line: say(f"notice: {line}"),
    )
    if len(model.tokenizer) <= len(model.tokenizer.all_special_ids):
        raise UltraError(
            f"base_model {preset.base_model!r} has no tokenizer: put its files into the folder of the model"
        )
    make_stateless(model.transformers_model)
    if options.query_prefix or options.document_prefix:
        model.prompts = {"query": options.query_prefix, "document": options.document_prefix}
    return model
