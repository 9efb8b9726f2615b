"""Loading a tokenizer from a folder or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ultra_train.tokenizer.sentencepiece_model import TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(
    name_or_path: str | Path, *, use_fast: bool = True, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or from the hub.

    Raises:
        TokenizerError: it cannot be loaded; the message gives the reason.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(name_or_path), use_fast=use_fast, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # the hub client and the converters raise errors of many libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TokenizerError(
            f"{name_or_path}: no tokenizer can be loaded from this folder or hub name "
            f"({type(error).__name__}: {reason}). Train one with `ultra-train tokenizer train`, or give "
            "tokenizer.name_or_path a folder that holds a tokenizer.json."
        ) from error
