"""What the head of a masked language model gives SPLADE to start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ultra_train.embeddings.splade.modules import splade_pairs
from ultra_train.embeddings.splade.output_layer import Recorded, output_layer
from ultra_train.hf.probe import logits_of, preserve_state

_TEXTS = 16
"""Number of texts that are looked at."""


@attrs.frozen
class HeadReport:
    """The logits of a masked language model on some texts.

    Attributes:
        positive: share of the logits of real tokens that are above 0.
        raw_positive: the same before what the head does after its output layer; None if that is unknown.
        active: mean number of tokens of the vocabulary with a weight above 0 in a text.
        vocabulary: size of the vocabulary.
    """

    positive: float
    raw_positive: float | None
    active: float
    vocabulary: int

    @property
    def squashed(self) -> bool:
        """Whether the head keeps all logits above 0, although its output layer does not."""
        return self.positive == 1 and self.raw_positive is not None and self.raw_positive < 1

    @property
    def usable(self) -> bool:
        """Whether weights can become zero, and some are not."""
        return 0 < self.positive < 1

    @property
    def advice(self) -> str | None:
        """What to do where SPLADE cannot start from this head."""
        if self.squashed:
            return (
                "the head bounds the logits by a positive function (a sigmoid), so that no weight can ever "
                "become zero; set model.patch_sigmoid_for_sparsity: true to use the logits before it"
            )
        if self.positive == 1:
            return "no logit is below 0, so that every text activates every token; use another base model"
        if self.positive == 0:
            return "no logit is above 0: all embeddings are empty and get no gradient; use another base model"
        return None

    def lines(self) -> Iterator[str]:
        """Yield what to say about the head: the numbers, and the advice."""
        yield (
            f"{self.positive:.2%} of the logits of the base model are above 0; before training, a text "
            f"activates {self.active:,.0f} of {self.vocabulary:,} tokens"
        )
        if self.advice is not None:
            yield self.advice


def head_report(encoder: nn.Module, texts: Sequence[str]) -> HeadReport | None:
    """Return what the head of a SPLADE encoder's model gives for a few texts.

    Args:
        encoder: a ``SparseEncoder``.
        texts: some texts of the data; the first 16 are read.

    Returns:
        None for an encoder without a masked language model.
    """
    pair = next(splade_pairs(encoder), None)
    if pair is None or not texts:
        return None
    transformer, _ = pair
    model, layer = transformer.model, output_layer(transformer.model)
    counts, raw = _Counts(), _Counts()
    with preserve_state(model):
        model.eval()
        for text in texts[:_TEXTS]:
            inputs = _inputs(transformer, text)
            if layer is None:
                counts.add(logits_of(model(**inputs)))
                continue
            with Recorded(layer) as seen:
                counts.add(logits_of(model(**inputs)))
            if isinstance(seen.output, Tensor):
                raw.add(seen.output)
    return HeadReport(counts.share, raw.share if raw.total else None, counts.active, counts.vocabulary)


class _Counts:
    """Numbers of logits above 0."""

    def __init__(self) -> None:
        self.positive = self.total = self.vocabulary = 0
        self.activated: list[int] = []

    def add(self, logits: Tensor) -> None:
        """Count the logits ``(1, T, V)`` of a text."""
        above = logits.flatten(0, -2) > 0
        self.positive += int(above.sum())
        self.total += above.numel()
        self.vocabulary = above.shape[-1]
        self.activated.append(int(above.any(0).sum()))

    @property
    def share(self) -> float:
        return self.positive / max(1, self.total)

    @property
    def active(self) -> float:
        return sum(self.activated) / max(1, len(self.activated))


def _inputs(transformer: Any, text: str) -> dict[str, Tensor]:
    """Return the inputs of the model for one text, which needs no padding."""
    features = transformer.preprocess([text])
    device = next(transformer.model.parameters()).device
    known = transformer.model_forward_params
    return {
        name: value.to(device)
        for name, value in features.items()
        if torch.is_tensor(value) and (known is None or name in known)
    }
