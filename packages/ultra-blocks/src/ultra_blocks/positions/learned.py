"""Learned absolute positions."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.positions.base import PositionCode
from ultra_core.contracts import FromModel, ParamInfo, Range
from ultra_core.plugins.signatures import require


class Learned(PositionCode):
    """Learned vectors of absolute positions, added to the token embeddings: ``x_i + P[p_i + offset]``.

    Positions start at 0 in every document, whatever padding precedes it.

    Args:
        hidden_size: width D of the residual stream.
        max_positions: number of positions; a longer document is an error.
        offset: row of position 0. The table has ``max_positions + offset`` rows, of which the first
            ``offset`` are not used; RoBERTa's has 2 of these, for the id of padding and those before it.

    Shapes:
        embed: ``(B, T, D)``; values at padding are meaningless.

    Raises:
        ValueError: ``max_positions`` is below 1 or ``offset`` below 0, or in ``forward``, a position is
            beyond the table.

    Paper: Devlin et al. 2018, "BERT", arXiv:1810.04805; Gehring et al. 2017, arXiv:1705.03122.
    Differs from the paper: nothing.
    """

    kind = "embed"
    relative = False
    reference: ClassVar = "ultra_blocks.reference.positions:learned"

    def __init__(
        self,
        hidden_size: int,
        *,
        max_positions: Annotated[int, FromModel("max_positions"), Range(min=1)] = 512,
        offset: Annotated[int, Range(min=0)] = 0,
    ) -> None:
        super().__init__()
        if max_positions < 1:
            raise ValueError(f"Learned: max_positions must be 1 or more; given {max_positions}")
        if offset < 0:
            raise ValueError(f"Learned: offset must be 0 or more; given {offset}")
        require(Learned, max_positions=max_positions, offset=offset)
        self.max_positions = max_positions
        self.offset = offset
        self.table = nn.Embedding(max_positions + offset, hidden_size)
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02) -> None:
        """Initialise the table from N(0, std^2)."""
        nn.init.normal_(self.table.weight, 0.0, std)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the table as an embedding."""
        return {"table.weight": ParamInfo(role="embeddings", kind="embedding")}

    def embed(self, layout: Layout) -> Tensor:
        """Return the vector of each token's position."""
        self._check(layout)
        return self.table(layout.positions + self.offset)

    def _check(self, layout: Layout) -> None:
        if layout.mask.shape[1] <= self.max_positions and layout.indexed:
            return  # short enough in any case, so that no synchronisation is needed
        if torch.compiler.is_compiling():
            return  # a graph cannot read values; the lookup itself reports an index beyond the table
        longest = int(layout.remember("longest", layout.positions.max)) + 1
        if longest > self.max_positions:
            raise ValueError(
                f"Learned: a document has {longest} positions but the table has {self.max_positions}; "
                "truncate documents to that length, or raise max_positions (a trained table cannot grow)"
            )
