"""Decays between the tokens of a chunk, channel by channel, built up on a tree. No parameters.

Blocks of 1, 2, 4, .. tokens meet in pairs, and after that each token takes up the decay across the block next
to its own. All factors are decays or products of them: nothing overflows and nothing is divided, however fast
channels decay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from ultra_blocks.functional.triangular import diagonal_blocks


class Meeting(NamedTuple):
    """Where blocks meet in pairs: views of the tokens that read and are read, and what they take up then."""

    read: Tensor  # (B, H, n, m, r h, d)
    write: Tensor  # (B, H, n, m, h, d)
    read_decay: Tensor  # (B, H, n, m, 1, d), across the block of the others
    write_decay: Tensor

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.write.shape[-2]

    def copied(self) -> Meeting:
        """Return it with copies of the tokens, which go on climbing."""
        return Meeting(self.read.clone(), self.write.clone(), self.read_decay, self.write_decay)


def climb(read: Tensor, write: Tensor, decay: Tensor, *, reverse: bool) -> Iterator[Meeting]:
    """Climb the tree: yield what meets, then multiply ``read`` and ``write`` in place and go on.

    Shapes: ``(B, H, n, C, d)``, C a power of two; ``read`` has ``r C`` rows, r for each token side by side,
    and holds the decay of its own token already.
    """
    size, rows = 1, read.shape[-2] // write.shape[-2]
    while size < write.shape[-2]:
        left, right = decay.unflatten(-2, (-1, 2)).unbind(-2)
        mine, others = (left, right) if reverse else (right, left)
        readers, writers = readers_of(read, rows * size, reverse), writers_of(write, size, reverse)
        yield Meeting(readers, writers, others[..., None, :], mine[..., None, :])
        readers *= others[..., None, :]
        writers *= mine[..., None, :]
        decay, size = left * right, 2 * size


def readers_of(x: Tensor, size: int, reverse: bool) -> Tensor:
    """Of each pair of blocks of a chunk the one that comes later in the direction of reading."""
    return x.unflatten(-2, (-1, 2, size)).select(-3, 0 if reverse else 1)


def writers_of(x: Tensor, size: int, reverse: bool) -> Tensor:
    """Of each pair of blocks of a chunk the one that is read."""
    return readers_of(x, size, not reverse)


def block_of(A: Tensor, size: int, *, reverse: bool) -> Tensor:
    """Entries ``(B, H, n, m, r h, h)`` of ``(B, H, n, r C, C)`` between readers and writers of each pair."""
    rows = A.shape[-2] // A.shape[-1] * size
    blocks = diagonal_blocks(A, 2 * rows, 2 * size)
    return blocks[..., :rows, size:] if reverse else blocks[..., rows:, :size]


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b``; batches of products over one or two numbers are slow on CPUs and are written out."""
    if a.shape[-1] > 2:
        return a @ b
    y = a[..., :1] * b[..., :1, :]
    return y if a.shape[-1] == 1 else y.addcmul_(a[..., 1:], b[..., 1:, :])
