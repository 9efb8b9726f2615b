"""Making the output of a model independent of earlier batches.

Some models of transformers keep state between batches. A resumed run would then differ from an uninterrupted
one, and evaluation would change training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_CACHED = "max_seq_len_cached"


def make_stateless(model: nn.Module) -> None:
    """Reset the state of a model before every forward pass to that which it was loaded with.

    * BigBird permanently replaces its sparse attention by full attention at the first short batch.
    * Dynamic rotary positions are stretched to the longest sequence so far.

    Args:
        model: the model, which gets forward hooks; its output for a first batch does not change.
    """
    for module in model.modules():
        if hasattr(module, _CACHED) and hasattr(module, "original_max_seq_len"):
            module.register_forward_pre_hook(_restore_positions)
    for module in model.modules():
        if callable(getattr(module, "set_attention_type", None)) and hasattr(module, "config"):
            module.register_forward_pre_hook(_restore_attention)
            return  # its submodules have the method too


def _restore_attention(module: Any, args: Any) -> None:
    # before the pass and not after it, since the backward pass may recompute the layers
    with torch.device("meta"):  # the new submodules take over the old weights, so their own need no memory
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
