"""The rules that come before all others: a plugin can be built, answers a call, and does so again alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing.cases import BlockCase, Case, NormCase, PositionCase
from ultra_blocks.testing.differences import check_close
from ultra_blocks.traits import NumericTraits, Traits
from ultra_core.errors import PluginError, listed
from ultra_core.testing import Finding, Rules

BLOCK_RULES, NORM_RULES, FFN_RULES, POSITION_RULES = Rules(), Rules(), Rules(), Rules()
"""The rules of blocks, norms, FFNs and position codes, by id."""

TOKENS = 5


def constructs(case: Case) -> None:
    """The constructor takes what a model supplies and its own defaults, and makes an ``nn.Module``.

    It is built at the first of some small widths that it accepts, with two heads.

    Fix: the width is passed by the name ``hidden_size``; give every other argument a default, ``num_heads:
    Annotated[int, FromModel("num_heads")]`` where the model has a field for it, or set ``testing_options:
    ClassVar = {"name": value}`` in the class where the defaults do not fit the widths 16, 32, 64 and 128.
    """
    try:
        given = case.arguments()
    except PluginError as error:
        raise Finding(str(error), fix="write every argument out, with its type and default") from error
    check_traits(case)
    supplied = ", ".join(f"{name}={value!r}" for name, value in given.items())
    try:
        module = case.cls(**given)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise Finding(f"{case.cls.__name__}({supplied}) raises {problem}") from error
    if not isinstance(module, nn.Module):
        kind = type(module).__name__
        base = BASES.get(type(case), "nn.Module")
        raise Finding(f"{case.cls.__name__}({supplied}) is no nn.Module", fix=f"`class {kind}({base}):`")
    if "_parameters" not in vars(module):
        raise Finding(
            f"the constructor of {case.cls.__name__} does not call that of its base",
            fix="begin `__init__` with `super().__init__(...)`",
        )


BASES = {BlockCase: "Mixer", NormCase: "Norm", PositionCase: "PositionCode"}
"""What a plugin of a kind derives from, of ``ultra_blocks``; an FFN from ``nn.Module``."""


def check_traits(case: Case) -> None:
    """Raise a finding unless the traits are of the right type and fit the signature.

    Raises:
        Finding: they are not.
    """
    kind = Traits if isinstance(case, BlockCase) else NumericTraits
    declared = getattr(case.cls, "traits", kind())
    if not isinstance(declared, kind):
        name = f"ultra_blocks.traits.{kind.__name__}"
        raise Finding(
            f"traits is {declared!r}", fix=f"`traits: ClassVar = {kind.__name__}(...)`, from {name}"
        )
    if not isinstance(case, BlockCase) or case.takes("causal"):
        return
    if case.traits.causal and case.traits.bidirectional:
        raise Finding(
            "the traits declare both directions, but the constructor has no argument causal",
            fix="`traits: ClassVar = Traits(causal=False)` for a bidirectional block, "
            "`Traits(bidirectional=False)` for a causal one, or a keyword `causal: bool = False`",
        )


def block_answers(case: Case) -> None:
    """``module(x, layout)`` takes a layout or None, and returns a tensor of the shape and dtype of ``x``.

    Fix: ``def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor`` returns ``(B, T, D)``. Do
    not add ``x``: the layer does. A pair ``(y, {"name": loss})`` adds auxiliary losses.
    """
    for layout in (None, Layout.full(2, TOKENS)):
        _check_answer(case, layout)


def norm_answers(case: NormCase) -> None:
    """``module(x)`` returns a tensor of the shape and dtype of ``x``.

    Fix: ``def forward(self, x: Tensor) -> Tensor`` acts on the last dimension of ``(..., D)``.
    """
    _check_answer(case)


def code_answers(case: PositionCase) -> None:
    """A position code is a ``PositionCode``, whose ``kind`` says which of its methods blocks call.

    Fix: ``class Name(PositionCode)``, from ``ultra_blocks.positions``, with ``kind = "rotate"`` and
    ``rotate(q, k, layout)``, ``"bias"`` and ``bias(layout, dtype)``, ``"scores"`` and ``scores(q, k,
    layout)``, or ``"embed"`` and ``embed(layout)``; ``relative`` and ``symmetric`` say what it is invariant
    to.
    """
    module = case.build()
    if not isinstance(module, PositionCode):
        bases = [base.__name__ for base in type(module).__bases__]
        raise Finding(f"{type(module).__name__} derives from {listed(bases)}, not from PositionCode")


def repeats(case: Case) -> None:
    """Two calls in evaluation give the same output.

    Fix: draw random numbers only in training, and let ``forward`` change nothing in the module.
    """
    module, x = case.build(), _input(case)
    inputs = (x,) if isinstance(case, NormCase) else (x, None)
    first, second = (_tensor(module(*inputs)) for _ in range(2))
    check_close(second, first, 0.0, other="the first time")


def _input(case: Case) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, TOKENS, case.hidden_size, generator=g, dtype=torch.float64)


def _check_answer(case: Case, *layout: Layout | None) -> None:
    module, x = case.build(), _input(case)
    others = ["None" if part is None else "a Layout" for part in layout]
    given = " and ".join([f"x {tuple(x.shape)}", *others])
    try:
        y = _tensor(module(x, *layout))
    except (TypeError, AttributeError, NotImplementedError) as error:
        raise Finding(
            f"called with {given}, {case.cls.__name__} raises {type(error).__name__}: {error}"
        ) from error
    if y.shape != x.shape:
        raise Finding(f"called with {given}, it returns a tensor {tuple(y.shape)}")
    if y.dtype != x.dtype:
        raise Finding(
            f"x is {x.dtype}, the output {y.dtype}", fix="end `forward` with `return y.to(x.dtype)`"
        )


def _tensor(y: object) -> Tensor:
    branch = y[0] if isinstance(y, tuple) and y else y
    if not isinstance(branch, Tensor):
        raise Finding(f"it returns a {type(branch).__name__}, no tensor")
    return branch


for rules in (BLOCK_RULES, NORM_RULES, FFN_RULES, POSITION_RULES):
    rules("C1", gate=True, least="quick")(constructs)
for rules, answers in ((BLOCK_RULES, block_answers), (FFN_RULES, block_answers), (NORM_RULES, norm_answers)):
    rules("C2", gate=True, least="quick")(answers)
    rules("C3", gate=True, least="quick")(repeats)
POSITION_RULES("C2", gate=True, least="quick")(code_answers)
