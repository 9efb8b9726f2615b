"""Makes what a model computes for a batch independent of the batches before it.

Some models of transformers remember: a run that is resumed would not know what one that was never killed has
seen, and evaluation would change training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_CACHED = "max_seq_len_cached"


def make_stateless(model: nn.Module) -> None:
    """Let every forward pass begin with the state that the model was loaded with.

    * BigBird turns its sparse attention into full attention at the first batch that is short, for good.
    * Dynamic rotary positions stretch with the longest row that was ever seen.

    Args:
        model: gets hooks; nothing of what it computes for a first batch changes.
    """
    for module in model.modules():
        if hasattr(module, _CACHED) and hasattr(module, "original_max_seq_len"):
            module.register_forward_pre_hook(_restore_positions)
    for module in model.modules():
        if callable(getattr(module, "set_attention_type", None)) and hasattr(module, "config"):
            module.register_forward_pre_hook(_restore_attention)
            return  # its parts have the method too


def _restore_attention(module: Any, args: Any) -> None:
    # before a pass, not after it: the backward pass may compute the layers again
    with torch.device("meta"):  # the new submodules take the old weights over; those they are made with, go
        module.set_attention_type(module.config.attention_type)


def _restore_positions(module: Any, args: Any) -> None:
    for name in [name for name in vars(module) if name.endswith(_CACHED)]:
        if getattr(module, name) == module.original_max_seq_len:
            continue
        prefix = name.removesuffix(_CACHED)
        stretched = getattr(module, f"{prefix}inv_freq")
        original = getattr(module, f"{prefix}original_inv_freq").to(stretched.device)
        module.register_buffer(f"{prefix}inv_freq", original, persistent=False)
        setattr(module, name, module.original_max_seq_len)
