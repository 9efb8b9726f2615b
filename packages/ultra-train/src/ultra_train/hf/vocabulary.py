"""The number of token ids of a tokenizer and of a model, and the embeddings that a model declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


def num_token_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the greatest id of a tokenizer plus one, which is more than its length if there are gaps."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=-1))


def num_embeddings(model: Any) -> int:
    """Return the number of tokens that a model has embeddings for."""
    size = getattr(model.config, "vocab_size", None)
    return int(size if isinstance(size, int) else model.get_input_embeddings().weight.shape[0])


def declared_embeddings(get: Callable[[], Any]) -> nn.Module | None:
    """Return the embeddings that a model declares, or None where transformers cannot find them.

    Args:
        get: its method ``get_input_embeddings`` or ``get_output_embeddings``.
    """
    from torch import nn

    try:
        found = get()
    except NotImplementedError:  # what transformers raises for a class that declares none
        return None
    return found if isinstance(found, nn.Module) else None
