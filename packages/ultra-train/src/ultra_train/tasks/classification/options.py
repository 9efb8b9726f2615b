"""The options of the task ``classification``, which are the section ``training.classification``."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.keys import key
from ultra_train.tasks.labelled.options import LabelledKeys


@attrs.frozen(kw_only=True)
class ClassificationOptions(LabelledKeys):
    """What a label is, and how a text becomes one vector."""

    problem_type: Literal["single_label", "multi_label", "regression"] = key(
        "single_label", "one class of a text, any number of classes, or a number"
    )
    label_separator: str = key("|", "what separates the labels of a text in a table, for multi_label")
    pooling: Literal["cls", "mean", "max"] | None = key(
        None, "how token states become that of a text, for encoders of ultra; cls when left out"
    )
