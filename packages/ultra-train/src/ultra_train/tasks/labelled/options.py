"""The keys of labelled data, which two tasks have in their sections."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_train.config.keys import Positive, key
from ultra_train.tasks.fine_tuning.options import FineTuningKeys


@attrs.frozen(kw_only=True)
class LabelledKeys(FineTuningKeys):
    """The data, their labels, and how long the base model is trained on them."""

    dataset_name: str | None = key(None, "a Hugging Face data set, a file or a folder, or ultra:es-commands")
    dataset_config: str | None = key(None, "configuration name of a Hugging Face data set")
    columns: dict[str, str] = key(
        help="name of a column in the task -> its name in the data set", factory=dict
    )
    labels: tuple[str, ...] | None = key(
        None, "the labels in the order of the model; those of the data when left out"
    )
    class_weights: Literal["balanced"] | dict[str, Positive] | None = key(
        None, "weight of each label in the loss, 1 where none is given; balanced: rare labels count for more"
    )
