"""The sequence of settings that makes a preset fit into memory, with the same effective batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from ultra_train.estimate.estimate import Estimate

SHORTER = (384, 256)
"""Lengths of a row that are tried in turn where shortening is allowed."""


@attrs.frozen(kw_only=True)
class Sizes:
    """The settings that decide how much memory a micro-batch takes.

    Attributes:
        batch_size: rows in a micro-batch.
        accumulation: micro-batches in an update.
        max_length: tokens in a row.
    """

    batch_size: int
    accumulation: int
    max_length: int

    @property
    def overrides(self) -> tuple[str, ...]:
        """The settings as ``--set`` takes them."""
        return (
            f"training.batch_size={self.batch_size}",
            f"training.gradient_accumulation_steps={self.accumulation}",
            f"training.max_length={self.max_length}",
        )


@attrs.frozen(kw_only=True)
class Fit:
    """A step of the sequence.

    Attributes:
        sizes: what was tried.
        estimate: what it takes.
        fits: whether that is little enough.
        limit: bytes that there are; None if they are not known.
    """

    sizes: Sizes
    estimate: Estimate
    fits: bool
    limit: int | None


def smaller(sizes: Sizes, *, shorten: bool) -> Iterator[Sizes]:
    """Yield ever smaller sizes: halved micro-batches with as many rows in an update, then shorter rows.

    A micro-batch that cannot be halved exactly is divided by its smallest factor.

    Args:
        sizes: what a preset says.
        shorten: whether rows may become shorter than that, once a micro-batch is a single row.
    """
    while sizes.batch_size > 1:
        factor = next(n for n in range(2, sizes.batch_size + 1) if sizes.batch_size % n == 0)
        sizes = attrs.evolve(
            sizes, batch_size=sizes.batch_size // factor, accumulation=sizes.accumulation * factor
        )
        yield sizes
    for length in SHORTER if shorten else ():
        if length < sizes.max_length:
            sizes = attrs.evolve(sizes, max_length=length)
            yield sizes


def fit(
    first: Estimate, again: Callable[[Sizes], Estimate], *, memory: int | None, shorten: bool
) -> Iterator[Fit]:
    """Yield the steps until one fits, the sizes of the preset first.

    Args:
        first: the estimate of the preset.
        again: returns the estimate at other sizes.
        memory: bytes that there are; None: those of the device.
        shorten: see :func:`smaller`.
    """
    limit = first.device.memory if memory is None else memory
    own = Sizes(batch_size=first.batch_size, accumulation=first.accumulation, max_length=first.max_length)
    yield Fit(sizes=own, estimate=first, fits=first.fits(limit), limit=limit)
    if first.fits(limit):
        return
    for sizes in smaller(own, shorten=shorten):
        made = again(sizes)
        yield Fit(sizes=sizes, estimate=made, fits=made.fits(limit), limit=limit)
        if made.fits(limit):
            return
