"""The losses of dense encoders, built from the names and options of presets."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import nn

from ultra_blocks.config import split_spec
from ultra_core.errors import UltraError
from ultra_train.data.pairs.kinds import NLI_LABELS
from ultra_train.tasks.embeddings.loss_names import DENSE_LOSSES, Losses, LossSpec


def build_loss(
    spec: LossSpec, model: Any, *, matryoshka_dims: Sequence[int] = (), losses: Losses = DENSE_LOSSES
) -> nn.Module:
    """Return a loss over a model.

    Args:
        spec: its name, or ``{NAME: {options}}``, without faults.
        model: the encoder.
        matryoshka_dims: widths to which vectors may be cut; the loss is then the sum over all of them
            (arXiv 2205.13147).
        losses: the losses to choose from.

    Raises:
        UltraError: a width is larger than that of the model's vectors.
    """
    name, options = split_spec(spec)
    module, _, cls = losses[name].target.partition(":")
    loss: nn.Module = getattr(import_module(module), cls)(model, **_completed(name, options, model))
    if not matryoshka_dims:
        return loss
    width = model.get_embedding_dimension()
    if max(matryoshka_dims) > width:
        raise UltraError(
            f"training.sbert.matryoshka_dims: {max(matryoshka_dims)} is more than the {width} numbers of a "
            "vector of this model"
        )
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    return MatryoshkaLoss(model, loss, list(matryoshka_dims))


def _completed(name: str, options: dict[str, Any], model: Any) -> dict[str, Any]:
    """Return the options of a loss with those that follow from the model."""
    if name == "softmax":
        sizes = {"embedding_dimension": model.get_embedding_dimension(), "num_labels": len(NLI_LABELS)}
        return {**sizes, **options}
    if "distance_metric" in options:
        from sentence_transformers.sentence_transformer.losses import TripletDistanceMetric

        return {**options, "distance_metric": TripletDistanceMetric[options["distance_metric"].upper()]}
    return options
