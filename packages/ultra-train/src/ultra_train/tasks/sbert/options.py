"""The options of the task ``sbert``, which are the section ``training.sbert``."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from ultra_train.config.keys import Count, Positive, key
from ultra_train.tasks.embeddings.steps import HardNegativesKeys, TeacherKeys
from ultra_train.tasks.fine_tuning.options import FineTuningKeys

Kind = Literal["paired_similarity", "pairs", "triplets", "nli", "qa"]
LossKey = str | dict[str, dict[str, Any] | None]


@attrs.frozen(kw_only=True)
class PairKeys:
    """What the rows of a data set are, and what is learnt from them."""

    dataset_type: Kind = key("paired_similarity", "what its columns are", any_case=True)
    columns: dict[str, str] = key(
        help="name of a column in the task -> its name in the data set", factory=dict
    )
    dataset_config: str | None = key(None, "configuration name of a Hugging Face data set")
    score_range: tuple[float, float] | None = key(
        None, "lowest and highest score, where they are neither 0 and 1 nor 0 and 5"
    )
    loss: LossKey | None = key(None, "loss, as NAME or {NAME: {options}}; by dataset_type when left out")
    hard_negatives: HardNegativesKeys | None = key(None, "mine negatives for pairs and queries")
    teacher: TeacherKeys | None = key(
        None, "learn from the scores of a better model, with the loss margin_mse or distill_kl"
    )


@attrs.frozen(kw_only=True)
class SbertDataset(PairKeys):
    """One of several data sets."""

    source: str = key(help="a Hugging Face data set, a file or a folder, or ultra:es-commands")


@attrs.frozen(kw_only=True)
class SbertOptions(PairKeys, FineTuningKeys):
    """Data, loss and training arguments of sentence embeddings."""

    dataset_name: str | None = key(None, "a Hugging Face data set, a file or a folder, or ultra:es-commands")
    datasets: dict[str, SbertDataset] = key(
        help="several data sets by name, instead of dataset_name", factory=dict
    )
    sampling_strategy: Literal["proportional", "round_robin"] = key(
        "proportional",
        "how batches of several data sets follow each other: at random in proportion to their sizes, or in "
        "turns until the smallest ends",
        any_case=True,
    )
    matryoshka_dims: tuple[Count, ...] = key(
        (), "widths to which vectors may be cut afterwards; the loss is summed over them"
    )
    query_prefix: str = key("", "put before every query")
    document_prefix: str = key("", "put before every document")
    pooling_mode: Literal["mean", "cls", "max"] = key("mean", "how token vectors become one", any_case=True)
    resample_balanced: bool = key(False, "draw similarity scores evenly over their range")
    resample_std: Positive = key(0.3, "width of the kernel of that resampling")
    standardize_scores: bool = key(False, "shift and scale the scores to mean 0 and deviation 1")

    @property
    def sets(self) -> dict[str, SbertDataset]:
        """The data sets by name, also a single one, which is called ``pairs``."""
        if self.dataset_name is None:
            return self.datasets
        shared = {field.name: getattr(self, field.name) for field in attrs.fields(PairKeys)}
        return {"pairs": SbertDataset(source=self.dataset_name, **shared)}
