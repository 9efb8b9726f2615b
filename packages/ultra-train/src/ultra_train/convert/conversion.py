"""A masked language model as one of the other side, compared on random tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel

from ultra_blocks.config import UltraConfig
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_core.errors import UltraError, listed
from ultra_train.convert.bert import BERT
from ultra_train.convert.family import Family
from ultra_train.convert.modernbert import MODERNBERT
from ultra_train.convert.roberta import ROBERTA
from ultra_train.convert.tensors import to_ours, to_theirs

FAMILIES = {family.name: family for family in (BERT, ROBERTA, MODERNBERT)}
TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit."""
_SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
_ROWS, _LENGTH = 2, 32
_OF_OTHERS = frozenset(
    {
        "num_kv_heads",
        "retention_heads",
        "num_experts",
        "top_k_experts",
        "ode_solver",
        "ode_steps",
        "hope_base",
        "hope_damping",
        "use_hope",
    }
)
"""Fields that only act on blocks, FFNs and positions that no family has, which differ anyway."""


@attrs.frozen
class Converted:
    """A converted model.

    Attributes:
        model: the model.
        difference: largest difference of logits to the original, relative to the largest logit.
        dropped: tensors of the original that have no place in it.
    """

    model: PreTrainedModel
    difference: float
    dropped: tuple[str, ...]


def family_of(model_type: str) -> Family:
    """Return the family of a ``model_type`` of transformers.

    Raises:
        UltraError: its models cannot be converted.
    """
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    known = sorted(name for family in FAMILIES.values() for name in family.model_types)
    raise UltraError(f"models of the type {model_type!r} cannot be converted; those of {listed(known)} can")


def into_ultra(model: PreTrainedModel) -> Converted:
    """Return a masked language model of transformers as an encoder of ultra.

    Raises:
        UltraError: the family, or an option of its config, has no counterpart; or the logits differ.
    """
    family = family_of(model.config.model_type)
    config = UltraConfig(**family.fields(model.config))
    ours = UltraForMaskedLM(UltraHFConfig.from_ultra(config))
    for name in _SPECIAL:
        if getattr(model.config, name, None) is not None:
            setattr(ours.config, name, getattr(model.config, name))
    tensors, dropped = to_ours(_distinct(model), family.rules(config))
    _fill(ours, tensors)
    return _compared(model, ours, dropped)


def out_of_ultra(model: PreTrainedModel, family: Family) -> Converted:
    """Return an encoder of ultra as a masked language model of transformers.

    Raises:
        UltraError: the family has no such architecture; all reasons are listed. Or the logits differ.
    """
    config = model.config.to_ultra()
    theirs_config = family.config(config)
    if reasons := _differences(config, UltraConfig(**family.fields(theirs_config))):
        raise UltraError(f"{family.name} has no such architecture: {'; '.join(reasons)}")
    for name in _SPECIAL:
        if getattr(model.config, name, None) is not None:
            setattr(theirs_config, name, getattr(model.config, name))
    theirs = AutoModelForMaskedLM.from_config(theirs_config)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    tensors, dropped = to_theirs(_distinct(model), shapes, family.rules(config))
    _fill(theirs, tensors)
    return _compared(model, theirs, dropped)


def _differences(given: UltraConfig, reached: UltraConfig) -> list[str]:
    """Return the fields that a family cannot express, with what they are and what they would be."""
    ours, theirs = _described(given), _described(reached)
    return [
        f"{name} is {ours[name]!r}, which would become {theirs[name]!r}"
        for name in ours
        if ours[name] != theirs[name]
    ]


def _described(config: UltraConfig) -> dict[str, Any]:
    """Return the fields of a config that say what is computed, without shorthands, every layer by itself."""
    canonical = config.canonical()
    fields = {name: value for name, value in attrs.asdict(canonical).items() if name not in _OF_OTHERS}
    return fields | {"layer_pattern": canonical.layers()}


def _distinct(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors of a model, buffers that it computes left out."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: tensor for name, tensor in model.state_dict().items() if name in parameters}


def _fill(model: PreTrainedModel, tensors: dict[str, Tensor]) -> None:
    """Write tensors into a model.

    Raises:
        UltraError: the model has others, or none for some of its own.
    """
    own = _distinct(model)
    if missing := sorted(own.keys() - tensors.keys()):
        raise UltraError(f"the original has no tensors for {listed(missing[:4])}")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise UltraError(
                    f"{name} has the shape {tuple(tensor.shape)}, but the original has "
                    f"{tuple(tensors[name].shape)}"
                )
            tensor.copy_(tensors[name])
    of_original: Any = next(iter(tensors.values())).dtype
    model.to(of_original)


def _compared(original: PreTrainedModel, made: PreTrainedModel, dropped: list[str]) -> Converted:
    """Compare logits of two models, without dropout, also where a row is padded on the right.

    Raises:
        UltraError: they differ.
    """
    generator = torch.Generator().manual_seed(0)
    length = min(_LENGTH, original.config.max_position_embeddings // 2)
    ids = torch.randint(original.config.vocab_size, (_ROWS, length), generator=generator)
    pad = getattr(original.config, "pad_token_id", None)
    if pad is not None:
        ids[ids == pad] = (pad + 1) % original.config.vocab_size
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    if pad is not None:
        ids = torch.where(mask.bool(), ids, pad)
    logits = [_logits(model, ids, mask)[mask.bool()] for model in (original, made)]
    difference = float((logits[0] - logits[1]).abs().max() / logits[0].abs().max())
    if not difference <= TOLERANCE:
        raise UltraError(
            f"the converted model has other logits: they differ by {difference:.2g} of the largest one"
        )
    return Converted(made, difference, tuple(dropped))


def _logits(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    wide: Callable[..., Any] = model.eval().float()
    with torch.no_grad():
        logits: Tensor = wide(input_ids=ids, attention_mask=mask).logits
    return logits
