"""QK-clip: rows that blocks declare, and factors of their queries and keys."""

import pytest
import torch

from ultra_core.contracts import LogitRows
from ultra_core.errors import PluginError
from ultra_optim import build
from ultra_optim.families.qk_clip import clip_factors
from ultra_optim.testing.subject import Bag


class Declaring(Bag):
    """A block that declares the given rows."""

    def __init__(self, *rows: LogitRows) -> None:
        super().__init__([torch.ones(8, 3)])
        self.rows = rows

    def logit_rows(self) -> tuple[LogitRows, ...]:
        return self.rows


QUERY = LogitRows(parameter="p0", part="query", heads=2, width=2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([QUERY, LogitRows(parameter="p1", part="key", heads=2, width=2)], "rows that do not exist"),
        ([QUERY, LogitRows(parameter="p0", part="key", heads=2, width=2, start=5)], "rows that do not exist"),
        (
            [QUERY, LogitRows(parameter="p0", part="key", heads=4, width=1, start=4)],
            r"\[2\] and keys of \[4\]",
        ),
        ([QUERY], r"queries of \[2\] and keys of \[\]"),
        ([QUERY, LogitRows(parameter="p0", part="lone_query", heads=1, width=1, start=4)], r"\[1, 2\]"),
    ],
)
def test_rows_that_do_not_fit_their_block_are_refused(rows, message) -> None:
    with pytest.raises(PluginError, match=message):
        build("muonclip", Declaring(*rows))


def test_logits_that_are_not_finite_clip_nothing() -> None:
    maxima = torch.tensor([float("inf"), float("nan"), -float("inf"), 200.0])
    factors = clip_factors(maxima, threshold=100.0, alpha=0.5, key_heads=4)
    torch.testing.assert_close(factors["query"], torch.tensor([1, 1, 1, 0.5**0.5]))
    torch.testing.assert_close(factors["key"], torch.tensor([1, 1, 1, 0.5**0.5]))
    torch.testing.assert_close(factors["lone_query"], torch.tensor([1, 1, 1, 0.5]))
