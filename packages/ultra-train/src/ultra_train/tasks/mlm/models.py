"""The model that a run trains: a new encoder, or a base model that is continued."""

from __future__ import annotations

from inspect import signature

from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from ultra_blocks.config import UltraConfig
from ultra_core.errors import UltraError
from ultra_train.config.preset import Preset
from ultra_train.config.sections import TokenizerConfig
from ultra_train.hf.precision import DTYPES, Precision
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.tasks.base import Say
from ultra_train.tasks.base_model import Base, load_base


def check_vocabulary(preset: Preset, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that masked language modelling, or the model of the preset, cannot use.

    Raises:
        UltraError: special tokens are missing, or the model has too few rows.
    """
    named = (preset.tokenizer or TokenizerConfig()).name_or_path
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise UltraError(
            f"the tokenizer {named or ''} has no mask token or no padding token, which masked language "
            "modelling needs; use one that has both"
        )
    if len(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)) < 2:
        raise UltraError(
            f"the tokenizer {named or ''} knows no tokens but special ones; are its files there "
            "(tokenizer.json, or those of a slow tokenizer)?"
        )
    model, needed = preset.model, num_token_ids(tokenizer)
    if model is not None and needed > model.vocab_size:
        raise UltraError(
            f"the tokenizer has {needed:,} tokens, but model.vocab_size is {model.vocab_size:,}; set "
            f"model.vocab_size to {needed} or more"
        )


def new_model(config: UltraConfig, tokenizer: PreTrainedTokenizerBase, dtype: Precision) -> PreTrainedModel:
    """Return a fresh ``UltraForMaskedLM`` whose weights are held in a precision."""
    from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig

    fresh = UltraForMaskedLM(UltraHFConfig.from_ultra(config, pad_token_id=tokenizer.pad_token_id))
    for parameter in fresh.parameters():  # buffers stay as precise as they were made
        parameter.data = parameter.data.to(DTYPES[dtype])
    return fresh


def continued_model(
    preset: Preset, tokenizer: PreTrainedTokenizerBase, *, packed: bool, max_length: int, say: Say
) -> Base:
    """Return the base model of a preset; weights that it lacks are initialised from the seed.

    Args:
        preset: the preset, which names it.
        tokenizer: the tokenizer, which is told how long a row may be.
        packed: whether a row will hold several documents.
        max_length: tokens that a row will have at most.
        say: prints what did not fit.

    Raises:
        UltraError: it cannot be loaded, or cannot be trained as the preset says.
    """
    name, training = preset.base_model or "", preset.training
    set_seed(training.seed)
    base = load_base(
        name,
        dtype=DTYPES[training.weights_dtype],
        tokens=num_token_ids(tokenizer),
        trust_remote_code=preset.tokenizer is not None and preset.tokenizer.trust_remote_code,
    )
    kind = type(base.model).__name__
    if packed and "document_ids" not in signature(base.model.forward).parameters:
        raise UltraError(
            f"training.batching packed puts several documents into a row, but base_model {name!r} "
            f"({kind}) would read them as one; use length"
        )
    if training.activation_checkpointing and not base.model.supports_gradient_checkpointing:
        raise UltraError(
            f"training.activation_checkpointing: base_model {name!r} ({kind}) cannot compute its "
            "activations again in the backward pass; leave it out"
        )
    for line in base.check(tokenizer, max_length):
        say(f"notice: base_model {name} {line}")
    return base
