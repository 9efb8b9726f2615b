"""What the blocks of an encoder do not accept: rows of several documents, or long batches."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from torch import nn

from ultra_blocks.layout import Layout
from ultra_blocks.traits import Traits


@attrs.frozen
class Limits:
    """The blocks of an encoder that refuse the most: packed rows, and all but the shortest batches.

    Attributes:
        unpacked: layer and class of a block without the trait ``packing``; None: all of them pack.
        short: layer and class of the block with the smallest trait ``longest``; None: no block has it.
        longest: this number of columns.
    """

    unpacked: tuple[int, str] | None = None
    short: tuple[int, str] | None = None
    longest: int | None = None

    @classmethod
    def of(cls, mixers: Iterable[nn.Module]) -> Limits:
        """Return the limits of blocks, by their traits; blocks without traits have none."""
        limits = cls()
        for layer, mixer in enumerate(mixers):
            traits, own = getattr(mixer, "traits", None), (layer, type(mixer).__name__)
            if not isinstance(traits, Traits):
                continue
            if not traits.packing and limits.unpacked is None:
                limits = attrs.evolve(limits, unpacked=own)
            if traits.longest is not None and traits.longest < (limits.longest or traits.longest + 1):
                limits = attrs.evolve(limits, short=own, longest=traits.longest)
        return limits

    def check(self, layout: Layout) -> None:
        """Raise unless every block accepts a batch.

        Raises:
            ValueError: a row holds several documents, or there are too many columns; the message names the
                block and its layer.
        """
        if layout.packed and self.unpacked is not None:
            layer, name = self.unpacked
            raise ValueError(
                f"layer {layer}, the block {name}, does not keep packed documents apart (its traits say "
                "packing=False), but a row of this batch holds several; give each document a row of its own "
                "(in a preset of ultra-train: training.batching: length)"
            )
        columns = layout.mask.shape[1]
        if self.short is not None and self.longest is not None and columns > self.longest:
            layer, name = self.short
            raise ValueError(
                f"layer {layer}, the block {name}, accepts {self.longest} columns at most (its traits say "
                f"longest={self.longest}), but this batch has {columns}; truncate its rows"
            )
