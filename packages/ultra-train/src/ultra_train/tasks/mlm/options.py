"""The options of the task ``mlm``, which are keys of ``training`` itself."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.data import TextKeys
from ultra_train.config.keys import Count, Fraction, Natural, NonNegative, Positive, Share, key


@attrs.frozen(kw_only=True)
class MaskPolicy:
    """Which tokens are predicted, and what replaces them in the input."""

    policy: Literal["token", "whole_word"] = key("token", "what is chosen: tokens, or all tokens of a word")
    mask_rate: Fraction = key(0.8, "share of the chosen tokens that becomes the mask token")
    random_rate: Fraction = key(0.1, "share of them that becomes a random token")


@attrs.frozen(kw_only=True)
class MLMOptions(TextKeys):
    """How texts become rows, and which of their tokens are predicted."""

    batching: Literal["length", "packed"] | None = key(
        None,
        "rows of one document and like length, or several documents in a row; by the device when left out",
    )
    mlm_probability: Share = key(0.15, "share of the tokens that are predicted")
    mask_policy: MaskPolicy = key(
        help="what is chosen for prediction and what the model sees there", factory=MaskPolicy
    )
    stream_above_gb: NonNegative = key(
        4.0, "size of the texts (GB, uncompressed) above which they are streamed"
    )
    stream_window_documents: Count = key(
        50_000, "texts in a window of a stream; documents are shuffled within it"
    )
    stream_cache_gb: Positive = key(50.0, "disk space that the tokenised windows of a stream may take (GB)")
    overlap_tokens: Natural = key(0, "tokens that the parts of a text longer than max_length have in common")
    join_temp_data_context_window: Natural = key(
        0, "join texts to documents of this many tokens, special ones included; 0 joins none"
    )
    join_temp_data_min_remainder_tokens: Natural = key(
        128, "tokens of text that the last joined document must have to be kept"
    )
