"""ContiguousMixer, the base of blocks that need the tokens of a document to be adjacent."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer


class ContiguousMixer(Mixer, ABC):
    """Base of blocks with a convolution or a scan; all padding is moved to the end of its row first.

    A subclass implements :meth:`mix_rows`.
    """

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Mix the tokens ``(B, T, D)`` of each document."""
        x = self.enter(x, layout)
        if layout is None or layout.dense:
            return self.mix_rows(x, None, None)
        rows = layout.real_first
        y = self.mix_rows(rows.gather(x), rows.mask, rows.documents)
        return self.leave(rows.scatter(y), layout)

    @abstractmethod
    def mix_rows(self, x: Tensor, real: Tensor | None, documents: Tensor | None) -> Tensor:
        """Mix the tokens ``(B, T, D)`` of each document; outputs at padding may have any finite value.

        Args:
            x: tokens, with zeros at padding, which is at the end of each row.
            real: ``(B, T)`` bool, True at real tokens; None without padding and with one document per row.
            documents: ``(B, T)`` document of each token, or None like ``real``.
        """
