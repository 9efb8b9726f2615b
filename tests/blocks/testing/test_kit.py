"""The kit is tested on blocks that are broken on purpose: each must fail the rule that it breaks."""

import random
from typing import Any, ClassVar

import attrs
import pytest
import torch
import torch.nn.functional as F
from blocks.testing.table import MUTANTS
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.testing import (
    RULES,
    RuleBroken,
    block_cases,
    check,
    check_block,
    pytest_params,
)
from ultra_core.contracts import LogitRows


class Mean(Mixer):
    """A block that keeps every rule: each token gets the mean of what it sees."""

    traits: ClassVar[Traits] = Traits(recurrent_step=True, symmetric=True)

    def __init__(self, hidden_size: int, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, causal=causal)
        self.dropout = dropout
        self.in_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self.reset_parameters()

    def seen(self, layout: Layout) -> Tensor:
        documents = layout.documents
        seen = (documents[:, :, None] == documents[:, None]) & layout.mask[:, None]
        return seen.tril() if self.causal else seen

    def enter(self, x: Tensor, layout: Layout | None) -> Tensor:  # type: ignore[override]
        return x if layout is None else layout.zero_padding(x)

    leave = enter

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1])
        x = self.in_proj(self.enter(x, layout))
        seen = self.seen(layout).to(x.dtype)
        mean = seen @ x / seen.sum(-1, keepdim=True).clamp(min=1)
        inner = F.dropout(torch.tanh(x + mean), self.dropout, self.training)
        return self.leave(self.out_proj(inner), layout)

    def init_state(self, batch: int) -> Any:
        self.require_causal()
        return torch.zeros(batch, self.hidden_size, dtype=self.out_proj.weight.dtype), 0

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        total, count = state
        x_t = self.in_proj(x_t)
        total = total + x_t
        return self.out_proj(torch.tanh(x_t + total / (count + 1))), (total, count + 1)


class LeaksPadding(Mean):
    def seen(self, layout: Layout) -> Tensor:
        return (
            torch.ones_like(super().seen(layout)).tril()
            if self.causal
            else torch.ones_like(super().seen(layout))
        )


class SpreadsNaN(Mean):
    def enter(self, x: Tensor, layout: Layout | None) -> Tensor:  # type: ignore[override]
        return x if layout is None else x * layout.mask[..., None]


class WritesAtPadding(Mean):
    def leave(self, y: Tensor, layout: Layout | None) -> Tensor:
        return y


class NeedsATokenOrARow(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x - 0 * x.detach().amax(), layout)


class AnswersNobody(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) if x.shape[0] else x.new_zeros(1, *x.shape[1:])


class DividesByTheTokens(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        count = torch.tensor(float(x.shape[0] * x.shape[1]))
        return self.leave(super().forward(x, layout) + self.out_proj.bias / count, layout)


class SeesTheFuture(Mean):
    def seen(self, layout: Layout) -> Tensor:
        documents = layout.documents
        return ((documents[:, :, None] == documents[:, None]) & layout.mask[:, None]).tril(1)


class MixesRows(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return self.enter(y + 1e-3 * y[:1].sum(1, keepdim=True), layout)


class MixesDocuments(Mean):
    def seen(self, layout: Layout) -> Tensor:
        seen = layout.mask[:, :, None] & layout.mask[:, None]
        return seen.tril() if self.causal else seen


class SeesTheLeftAlone(Mean):
    def seen(self, layout: Layout) -> Tensor:
        return super().seen(layout).tril()


class SeesNeighboursAlone(Mean):
    def seen(self, layout: Layout) -> Tensor:
        return super().seen(layout).tril(1).triu(-1)


class DecodesWrong(Mean):
    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, (total, count) = super().step(x_t, state)
        return y, (total * 0.999, count)


class CountsFromTheStart(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1])
        return super().forward(self.enter(x, layout) + 1e-3 * layout.positions[..., None], layout)


class KnowsItsSides(Mean):
    def seen(self, layout: Layout) -> Tensor:
        seen = super().seen(layout).double()
        return seen.tril() + 0.5 * seen.triu(1)


class Quadratic(Mean):
    traits: ClassVar[Traits] = Traits(linear_time=True)


class ForgetsAParameter(Mean):
    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.unused = nn.Parameter(torch.ones(hidden_size))


class MisstatesItsBlocks(Mean):
    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"in_proj.weight": (3, 4)}


class DescribesNothing(Mean):
    def parameter_info(self) -> dict[str, Any]:
        return {}


class IsRestless(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) * torch.rand(())


class TrainsOtherwise(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) * (2 if self.training else 1)


class CountsItsCalls(Mean):
    calls = 0

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        self.calls += 1
        return super().forward(x, layout) ** self.calls


class HidesABuffer(Mean):
    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.register_buffer("table", torch.arange(3.0), persistent=False)


class HasItsOwnDice(Mean):
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        with torch.no_grad():
            self.in_proj.weight.fill_(random.random())


class HasNoDice(Mean):
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.linspace(-1, 1, p.numel()).view_as(p))


class CutsTheGradient(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return y * y.detach()


class Overflows(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(self.enter(x, layout).exp(), layout)


class LosesDigits(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return self.enter(((y + 300) - 300), layout)


class SwallowsCausal(Mean):
    traits: ClassVar[Traits] = Traits(causal=False, symmetric=True)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size)


class SwallowsPositions(Mean):
    def __init__(self, hidden_size: int, *, causal: bool = False, positions: Any = "nope") -> None:
        super().__init__(hidden_size, causal=causal)


class StartsWithoutBeingAsked(Mean):
    def require_causal(self) -> None:
        pass


class NeedsAnOption(Mean):
    def __init__(self, hidden_size: int, *, width: int, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)


class ChangesShape(Mean):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout)[..., :-1]


class ChangesWithChunks(Mean):
    def __init__(self, hidden_size: int, *, causal: bool = False, chunk_size: int = 64) -> None:
        super().__init__(hidden_size, causal=causal)
        self.chunk_size = chunk_size

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) * (1 + 1e-3 / self.chunk_size)


class RecordsAllPairs(StandardAttention):
    def _max_logits(self, q: Tensor, k: Tensor, layout: Layout, window: int | None) -> Tensor:
        return self.scores(q, k, layout).detach().amax((0, 2, 3))


class TakesValuesForKeys(StandardAttention):
    def logit_rows(self) -> tuple[LogitRows, ...]:
        queries, keys = super().logit_rows()
        return queries, attrs.evolve(keys, start=keys.stop)


@pytest.mark.parametrize("causal", [False, True])
def test_a_right_block_keeps_every_rule(causal: bool) -> None:
    case = list(block_cases([Mean]))[causal]
    tried = check(case)
    assert {"B0", "B1", "B1b", "B2", "B4", "B7", "B8", "B10", "B16", "U1"} <= set(tried)
    assert ("B3" in tried) == ("B5" in tried) == causal
    assert ("B9" in tried) == (not causal)
    assert "B13c" not in tried


@pytest.mark.parametrize(
    ("rule", "cls", "causal"),
    [
        ("C1", NeedsAnOption, False),
        ("C2", ChangesShape, False),
        ("C3", IsRestless, False),
        ("B0", ChangesShape, False),
        ("B1", LeaksPadding, False),
        ("B1", LeaksPadding, True),
        ("B1", SpreadsNaN, False),
        ("B1b", SpreadsNaN, True),
        ("B16", SpreadsNaN, False),
        ("B16", WritesAtPadding, False),
        ("B16b", NeedsATokenOrARow, False),
        ("B16b", AnswersNobody, False),
        ("B16b", DividesByTheTokens, True),
        ("B3", SeesTheFuture, True),
        ("B2", MixesRows, False),
        ("B7", MixesDocuments, False),
        ("B7", MixesDocuments, True),
        ("B4", SeesTheLeftAlone, False),
        ("B4", SeesNeighboursAlone, False),
        ("B5", DecodesWrong, True),
        ("B5b", ChangesWithChunks, False),
        ("B8", CountsFromTheStart, False),
        ("B9", KnowsItsSides, False),
        ("B10", CutsTheGradient, False),
        ("B11", Overflows, False),
        ("B12", IsRestless, False),
        ("B12", TrainsOtherwise, False),
        ("B13", CountsItsCalls, False),
        ("B14", LosesDigits, False),
        ("B15", HidesABuffer, False),
        ("B15b", ForgetsAParameter, False),
        ("B15b", MisstatesItsBlocks, False),
        ("B15b", DescribesNothing, False),
        ("B15c", HasItsOwnDice, False),
        ("B15c", HasNoDice, False),
        ("B17", Quadratic, False),
        ("B21", RecordsAllPairs, False),
        ("B22", TakesValuesForKeys, False),
        ("U1", SwallowsCausal, False),
        ("U1", SwallowsPositions, False),
        ("U1", StartsWithoutBeingAsked, False),
    ],
)
def test_a_broken_block_fails_the_rule_that_it_breaks(rule: str, cls: type[Mixer], causal: bool) -> None:
    case = list(block_cases([cls]))[causal]
    assert RULES[rule].applies(case)
    with pytest.raises(RuleBroken) as caught:
        RULES[rule](case)
    message = str(caught.value)
    assert message.startswith(f"{case} breaks rule {rule}: {RULES[rule].statement}")


def test_every_rule_has_a_block_that_breaks_it() -> None:
    marks = test_a_broken_block_fails_the_rule_that_it_breaks.pytestmark  # type: ignore[attr-defined]
    broken = {rule for mark in marks for rule, _, _ in mark.args[1]} | {rule for rule, *_ in MUTANTS}
    assert broken >= {name for name, rule in RULES.items() if rule.least != "thorough"}


def test_check_block_takes_a_name_or_a_class_and_runs_both_directions() -> None:
    check_block("standard_attn", rules=["B0", "U1"], options={"num_heads": 4, "qk_norm": True})
    with pytest.raises(RuleBroken, match=r"SeesTheFuture \(causal\) breaks rule B3"):
        check_block(SeesTheFuture, rules=["B3"])


def test_an_exception_inside_a_block_breaks_the_rule_and_says_where_it_was_raised() -> None:
    class Raises(Mean):
        def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
            raise KeyError("oh")

    with pytest.raises(RuleBroken, match=r"breaks rule B15b: .*\nseen: KeyError: 'oh' \(test_kit.py:\d+\)"):
        check_block(Raises, rules=["B15b"])


def test_params_are_every_case_with_every_rule_that_applies() -> None:
    ids = [param.id for param in pytest_params(block_cases(["standard_attn"]), rules=["B0", "B3"])]
    assert ids == [
        "standard_attn-(bidirectional)-B0",
        "standard_attn-(causal)-B0",
        "standard_attn-(causal)-B3",
    ]
    whole = pytest_params()
    assert {"rope-P1", "mlp-F1"} <= {param.id for param in whole}


@pytest.mark.parametrize("backend_rule", ["B13c", "B13d"])
def test_compiling_is_opt_in(backend_rule: str) -> None:
    assert RULES[backend_rule].least == "thorough"
    assert RULES[backend_rule] not in RULES.chosen(next(iter(block_cases([Mean]))), None)


def test_a_traced_block_equals_itself() -> None:
    check(next(iter(block_cases(["standard_attn"]))), rules=["B13c"])
