"""The losses that presets name, the data that each is for, and its options; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import attrs

from ultra_blocks.config import split_spec
from ultra_core.contracts import Range
from ultra_core.errors import did_you_mean, listed
from ultra_core.plugins.types import mismatch
from ultra_train.config.task_declaration import Faults

Count = Annotated[int, Range(min=1)]
Positive = Annotated[float, Range(gt=0)]

LossSpec = str | dict[str, dict[str, Any] | None]
"""The name of a loss, or ``{NAME: {options}}``."""


@attrs.frozen
class LossName:
    """A loss of sentence-transformers under the name that presets use.

    Attributes:
        target: its class, as ``module:Class``.
        kinds: the kinds of data that it is for.
        options: the types of its options by their names.
        negatives_in_batch: whether the other texts of a batch are its negatives.
    """

    target: str
    kinds: tuple[str, ...]
    options: Mapping[str, Any] = attrs.field(factory=dict)
    negatives_in_batch: bool = False


Losses = Mapping[str, LossName]

_DENSE = "sentence_transformers.sentence_transformer.losses"
_SCALE = {"scale": Positive}
_RANKING = {**_SCALE, "gather_across_devices": bool}
_CONCATENATED = ("sent_rep", "sent_difference", "sent_multiplication")

DENSE_LOSSES: Losses = {
    "cosent": LossName(f"{_DENSE}:CoSENTLoss", ("paired_similarity",), _SCALE),
    "angle": LossName(f"{_DENSE}:AnglELoss", ("paired_similarity",), _SCALE),
    "cosine": LossName(f"{_DENSE}:CosineSimilarityLoss", ("paired_similarity",)),
    "multiple_negatives": LossName(
        f"{_DENSE}:MultipleNegativesRankingLoss", ("pairs", "triplets", "qa"), _RANKING, True
    ),
    "cached_multiple_negatives": LossName(
        f"{_DENSE}:CachedMultipleNegativesRankingLoss",
        ("pairs", "triplets", "qa"),
        {**_RANKING, "mini_batch_size": Count},
        True,
    ),
    "triplet": LossName(
        f"{_DENSE}:TripletLoss",
        ("triplets",),
        {"distance_metric": Literal["cosine", "euclidean", "manhattan"], "triplet_margin": Positive},
    ),
    "margin_mse": LossName(f"{_DENSE}:MarginMSELoss", ("pairs", "triplets", "qa")),
    "distill_kl": LossName(
        f"{_DENSE}:DistillKLDivLoss", ("pairs", "triplets", "qa"), {"temperature": Positive}
    ),
    "softmax": LossName(
        f"{_DENSE}:SoftmaxLoss", ("nli",), {f"concatenation_{what}": bool for what in _CONCATENATED}
    ),
}
"""The losses of dense encoders by the names that presets use."""

DENSE_DEFAULTS: Mapping[str, str] = {
    "paired_similarity": "cosent",
    "pairs": "multiple_negatives",
    "triplets": "multiple_negatives",
    "qa": "multiple_negatives",
    "nli": "softmax",
}
"""The loss of each kind of data where the preset names none."""


def loss_faults(spec: LossSpec, kind: str, path: tuple[str, ...], losses: Losses = DENSE_LOSSES) -> Faults:
    """Yield what is wrong with a loss: its name, its options, or the data that it would be given.

    Args:
        spec: the loss as written.
        kind: the kind of the data.
        path: path of its key.
        losses: the losses to choose from.
    """
    try:
        name, options = split_spec(spec)
    except ValueError as error:
        yield path, str(error)
        return
    if name not in losses:
        yield path, f"unknown loss {name!r}.{did_you_mean(name, losses)} There are: {listed(sorted(losses))}"
        return
    loss = losses[name]
    if kind not in loss.kinds:
        fitting = listed(sorted(n for n, other in losses.items() if kind in other.kinds))
        yield (
            path,
            f"the loss {name} is for {listed(loss.kinds)}, not for {kind}; for {kind} there are {fitting}",
        )
    for option, value in options.items():
        place = (*path, name, option)
        if option not in loss.options:
            known = listed(sorted(loss.options)) if loss.options else "none"
            yield (
                place,
                f"{name} has no option {option!r}.{did_you_mean(option, loss.options)} Its options: {known}",
            )
        elif problem := mismatch(value, loss.options[option]):
            yield place, f"{option} is {value!r}; {problem}"
