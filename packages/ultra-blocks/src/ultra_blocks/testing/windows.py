"""The rule of windows, which are options of many blocks."""

from __future__ import annotations

from ultra_blocks.testing.cases import BlockCase, noise, takes_columns
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.traits import influence
from ultra_core.testing import Finding

NAMES = ("window", "window_size", "sliding_window")
"""Names of options for the reach of a token."""

WINDOW = 6
CENTRE = 32
"""The token whose window is measured, in a row of 65."""


def _windows(case: BlockCase) -> list[str]:
    return [] if case.causal else [name for name in NAMES if case.takes(name)]


@BLOCK_RULES(
    "B4d", when=lambda case: bool(_windows(case)), unless=takes_columns(2 * CENTRE + 1), after=("B4",)
)
def window(case: BlockCase) -> None:
    """In a bidirectional block, a window reaches as far to the left of a token as to the right.

    Fix: allow the pairs with ``(i - j).abs() <= reach``; ``layout.attention_mask(window=window)`` does.
    """
    x = noise(1, 2 * CENTRE + 1, case.hidden_size, seed=5)
    for name in _windows(case):
        try:
            seen = influence(case, x, CENTRE, **{name: WINDOW}) > 0
        except (TypeError, ValueError):
            continue  # it takes other values
        sides = seen[:CENTRE].flip(0), seen[CENTRE + 1 :]
        left, right = (int(side.long().cumprod(0).sum()) for side in sides)
        if left != right and max(left, right) < CENTRE:
            raise Finding(
                f"with {name}={WINDOW}, the output at token {CENTRE} of {len(seen)} depends on the {left} "
                f"tokens before it and on the {right} after it"
            )
