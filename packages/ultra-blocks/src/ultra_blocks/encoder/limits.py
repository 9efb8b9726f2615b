"""What the blocks of an encoder do not accept: rows of several documents, or long batches."""

from __future__ import annotations

import attrs

from ultra_blocks.config import UltraConfig
from ultra_blocks.layout import Layout
from ultra_blocks.traits import Traits
from ultra_core import blocks
from ultra_core.errors import UltraError


@attrs.frozen
class Limits:
    """The blocks of an encoder that accept the least, by their traits.

    Attributes:
        unpacked: number of the first layer whose block does not keep packed documents apart, and the name of
            the block; None: all of them do.
        short: number of the layer whose block accepts the fewest columns, and the name of the block; None:
            all accept any number.
        longest: this number of columns.
    """

    unpacked: tuple[int, str] | None = None
    short: tuple[int, str] | None = None
    longest: int | None = None

    @classmethod
    def of(cls, config: UltraConfig) -> Limits:
        """Return the limits of an encoder; blocks without traits, or that cannot be imported, have none."""
        limits = cls()
        known: dict[str, Traits | None] = {}
        for layer, (name, _) in enumerate(config.layers()):
            if name not in known:
                known[name] = _traits(name)
            if (traits := known[name]) is None:
                continue
            if not traits.packing and limits.unpacked is None:
                limits = attrs.evolve(limits, unpacked=(layer, name))
            if traits.longest is not None and traits.longest < (limits.longest or traits.longest + 1):
                limits = attrs.evolve(limits, short=(layer, name), longest=traits.longest)
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


def _traits(name: str) -> Traits | None:
    try:
        traits = getattr(blocks.get(name), "traits", None)
    except UltraError:
        return None
    return traits if isinstance(traits, Traits) else None
