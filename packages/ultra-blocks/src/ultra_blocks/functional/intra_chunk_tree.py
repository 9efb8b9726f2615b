"""Decays between the tokens of a chunk, channel by channel, built up on a binary tree.

Blocks of 1, 2, 4, .. tokens are combined in pairs, after which each token is multiplied by the decay across
the block next to its own. All factors are decays or products of decays: nothing overflows and nothing is
divided, however fast channels decay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from ultra_blocks.functional.triangular import diagonal_blocks


class BlockPairs(NamedTuple):
    """One level of the tree: views of readers and writers in each pair of blocks, and their next factors.

    Attributes:
        read: ``(B, H, n, m, r h, d)``, tokens of the later block of each pair.
        write: ``(B, H, n, m, h, d)``, tokens of the earlier block.
        read_decay: ``(B, H, n, m, 1, d)``, decay across the earlier block, which readers take up next.
        write_decay: ``(B, H, n, m, 1, d)``, decay across the later block, which writers take up next.
    """

    read: Tensor
    write: Tensor
    read_decay: Tensor
    write_decay: Tensor

    @property
    def size(self) -> int:
        """Number of tokens of a block."""
        return self.write.shape[-2]

    def with_copies(self) -> BlockPairs:
        """Return the pairs with copies of the tokens, which the sweep goes on to change."""
        return BlockPairs(self.read.clone(), self.write.clone(), self.read_decay, self.write_decay)


def up_sweep(read: Tensor, write: Tensor, decay: Tensor, *, reverse: bool) -> Iterator[BlockPairs]:
    """Yield the pairs of blocks of each level, and multiply ``read`` and ``write`` in place after each.

    Shapes: ``(B, H, n, C, d)``, C a power of two; ``read`` has ``r C`` rows, r adjacent ones for each token,
    and is already multiplied by the decay of its own token.
    """
    size, rows = 1, read.shape[-2] // write.shape[-2]
    while size < write.shape[-2]:
        left, right = decay.unflatten(-2, (-1, 2)).unbind(-2)
        mine, others = (left, right) if reverse else (right, left)
        readers, writers = readers_of(read, rows * size, reverse), writers_of(write, size, reverse)
        yield BlockPairs(readers, writers, others[..., None, :], mine[..., None, :])
        readers *= others[..., None, :]
        writers *= mine[..., None, :]
        decay, size = left * right, 2 * size


def readers_of(x: Tensor, size: int, reverse: bool) -> Tensor:
    """Return the block of each pair that comes later in the direction of the scan."""
    return x.unflatten(-2, (-1, 2, size)).select(-3, 0 if reverse else 1)


def writers_of(x: Tensor, size: int, reverse: bool) -> Tensor:
    """Return the block of each pair that comes earlier in the direction of the scan."""
    return readers_of(x, size, not reverse)


def block_of(A: Tensor, size: int, *, reverse: bool) -> Tensor:
    """Return the entries ``(B, H, n, m, r h, h)`` of A ``(B, H, n, r C, C)`` within each pair of blocks."""
    rows = A.shape[-2] // A.shape[-1] * size
    blocks = diagonal_blocks(A, 2 * rows, 2 * size)
    return blocks[..., :rows, size:] if reverse else blocks[..., rows:, :size]


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b``; batched products over one or two elements are slow on CPUs and are written out."""
    if a.shape[-1] > 2:
        return a @ b
    y = a[..., :1] * b[..., :1, :]
    return y if a.shape[-1] == 1 else y.addcmul_(a[..., 1:], b[..., 1:, :])
