"""Rules about memory: calls before, other modules and other options change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import BlockCase, Case, gradients, output, takes_columns
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import Batch
from ultra_blocks.testing.dropout import without_dropout
from ultra_core.testing.variations import variations

PACKED = "packed documents"
CALLS = (
    ("9 tokens", Batch(((9,), (9,)), "none", 0, 51, torch.float64)),
    ("150 tokens", Batch(((150,),), "none", 0, 52, torch.float64)),
    ("padding", Batch(((30,), (11,)), "left", 7, 53, torch.float64)),
    ("other padding", Batch(((11,), (30,)), "right", 7, 56, torch.float64)),
    (PACKED, Batch(((17, 13), (30,)), "inside", 7, 54, torch.float64)),
    ("1 token", Batch(((1,),), "none", 0, 55, torch.float64)),
)

FIRST, BEYOND = 90, 540
"""Lengths from which modules are called in turn; tables that grow with the longest row grow at 540."""

POSITIONS = ("nope", "rope", {"rope": {"base": 7.0}}, "alibi", "hope")
"""Position codes that a block with such an option is built with; it refuses those that it cannot apply."""


def calls_are_apart(case: Case) -> None:
    """A call depends on its arguments and on the weights, not on calls before it.

    A module is called with short and long rows, padded and packed, in both orders, without gradients, in
    inference mode and in training. Each result must be that of a new module with the same weights, to the
    bit; so must it be after new weights were loaded.

    Fix: do not keep tensors in ``self`` between calls. A table that is kept for speed must be a function of
    everything that it depends on: length, dtype, device, mode. Running statistics do not belong in a block.
    """
    none, calls = without_dropout(case), _calls(case)
    wanted = {name: _outcome(case.build(**none), case, batch) for name, batch in calls}
    used = case.build(**none)

    def check(after: str) -> None:
        for name, batch in calls:
            _compare(_outcome(used, case, batch), wanted[name], f"{name}, after {after}")

    for name, batch in (*calls, *reversed(calls)):
        _compare(_outcome(used, case, batch), wanted[name], f"{name}, after other calls")
    for mode in (torch.no_grad(), torch.inference_mode()):
        used = case.build(**none)
        for _, batch in calls:
            with mode:
                x, layout, _ = _placed(case, batch)
                output(used, x, layout)
        check(f"calls under {type(mode).__name__}")
    used.train()
    for _, batch in calls:
        _outcome(used, case, attrs.evolve(batch, seed=60))
    used.eval()
    check("training on other tokens")
    other = case.build(seed=2, **none)
    used.load_state_dict(other.state_dict())
    for name, batch in calls:
        _compare(
            _outcome(used, case, batch),
            _outcome(other, case, batch),
            f"{name}, after other weights were loaded",
        )


def modules_are_apart(case: BlockCase) -> None:
    """Modules with other options, dtypes or directions do not change each other's results.

    They share one layout, as the layers of a model do, or are called one after the other with rows of the
    same and of growing lengths. A class with both directions is tried once, with the causal one among the
    others.

    Fix: put everything that a remembered value depends on into its key: ``layout.remember(("name",
    self.window, x.dtype), make)``. Keep no tables in the class or in the module's globals; ``lru_cache``
    needs all of length, dtype, device and options as arguments.
    """
    exact, calls = case.build(), _calls(case)
    shared = {name: batch.layout() for name, batch in calls}
    for number, relative in enumerate(_relatives(case)):
        for name, batch in calls:
            x, _, _ = _placed(relative.case, attrs.evolve(batch, dtype=relative.dtype))
            with torch.no_grad():
                got, alone = (output(relative.module, x, layout) for layout in (shared[name], batch.layout()))
            note = f"{name}, {relative.difference} after other modules"
            check_close(got, alone, 0.0, what="with a shared layout, output", other="with its own", note=note)
        _check_tables(case, exact, number, relative)


@attrs.frozen
class Relative:
    """A module of the same class as another, how it differs, and its dtype, width and direction."""

    difference: str
    case: BlockCase
    module: nn.Module
    dtype: torch.dtype = torch.float64


def _relatives(case: BlockCase) -> Iterator[Relative]:
    """Yield modules of the class of a case, from the default to the default."""
    yield Relative("the default", case, case.build())
    for dtype in (torch.float32, torch.bfloat16):
        yield Relative(f"a module in {dtype}", case, case.build(dtype), dtype)
    if case.traits.causal and case.traits.bidirectional:
        turned = attrs.evolve(case, causal=not case.causal)
        yield Relative(f"one with causal={turned.causal}", turned, turned.build())
    wide = attrs.evolve(case, hidden_size=2 * case.hidden_size)
    yield Relative(f"one with hidden_size={wide.hidden_size}", wide, wide.build())
    tried = variations(
        case.cls,
        case.arguments(),
        lambda options: case.build(**options),
        guesses={"positions": POSITIONS},
        skip={"hidden_size", "causal"},
    )
    seen = set()
    for variation in tried:
        if not variation.refusal and (variation.choice or variation.option not in seen):
            seen.add(variation.option)
            yield Relative(f"one with {variation}", case, case.build(**variation.arguments))
    yield Relative("the default again", case, case.build())


def _tokens(case: Case, length: int) -> Tensor:
    g = torch.Generator().manual_seed(length)
    return torch.randn(1, length, case.hidden_size, generator=g, dtype=torch.float64)


@torch.no_grad()
def _check_tables(case: BlockCase, exact: nn.Module, number: int, relative: Relative) -> None:
    """Call a relative of a module before it, with a row of the same length and with the longest so far."""

    def disturb(length: int) -> None:
        x = _tokens(relative.case, length)
        output(relative.module, x.to(relative.dtype), None)

    n, longest = FIRST + 4 * number, BEYOND + number
    x = _tokens(case, n)
    layout = Layout.from_mask((torch.arange(n + 2) < n)[None])
    wanted = output(exact, nn.functional.pad(x, (0, 0, 0, 2)), layout)[:, :n]  # a length of its own
    disturb(n)
    disturb(longest)
    note = f"{n} tokens, after {relative.difference} was called with {n} and {longest}"
    check_close(output(exact, x, None), wanted, case.allows(1e-10), other="before, with padding", note=note)


def _calls(case: Case) -> list[tuple[str, Batch]]:
    return [(name, batch) for name, batch in CALLS if case.packs or name != PACKED]


def _placed(case: Case, batch: Batch) -> tuple[Tensor, Layout | None, list[Tensor]]:
    """Return the input, its layout (None: no padding, one document a row), and the tokens."""
    layout, tokens = batch.layout(), batch.tokens(case.hidden_size)
    return batch.place(tokens, layout, case.hidden_size), None if layout.dense else layout, tokens


def _outcome(module: nn.Module, case: Case, batch: Batch) -> dict[str, Tensor]:
    """Return the output and all gradients by name."""
    x, layout, tokens = _placed(case, batch)
    y = output(module, x, layout)
    weight = torch.randn(y.shape, generator=batch.generator(5)).to(y.dtype)
    names = [f"gradient of document {i}" for i in range(len(tokens))]
    names += [f"gradient of {name}" for name, _ in module.named_parameters()]
    found = gradients(y, weight, [*tokens, *module.parameters()])
    return {"output": y.detach(), **dict(zip(names, found, strict=True))}


def _compare(got: dict[str, Tensor], wanted: dict[str, Tensor], note: str) -> None:
    for name, tensor in got.items():
        check_close(tensor, wanted[name], 0.0, what=name, other="in a new module", note=note)


def _is_first(case: BlockCase) -> bool:
    """Whether a case is the first of its class; what is said of it holds for the other direction as well."""
    return not (case.causal and case.traits.bidirectional)


BLOCK_RULES("B26", least="quick", after=("B1", "B12"), unless=takes_columns(150))(calls_are_apart)
BLOCK_RULES("B26b", when=_is_first, after=("B23", "B26"), unless=takes_columns(BEYOND + 50))(
    modules_are_apart
)
FFN_RULES("F13", after=("F1",))(calls_are_apart)
