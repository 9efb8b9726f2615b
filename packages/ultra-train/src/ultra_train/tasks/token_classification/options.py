"""The options of ``token_classification``, which are the section ``training.token_classification``."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.keys import key
from ultra_train.tasks.labelled.options import LabelledKeys


@attrs.frozen(kw_only=True)
class TokenClassificationOptions(LabelledKeys):
    """Which pieces of a word learn its tag."""

    label_pieces: Literal["first", "all"] = key(
        "first", "the first piece of a word has its tag, or all have it, those after the first as I"
    )
