"""Rules that compare what parameters are said to be with what ``forward`` does with them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from torch import nn

from ultra_blocks.mixers.base import Mixer
from ultra_blocks.testing.cases import BlockCase, Case, FFNCase
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.outcomes import answer
from ultra_blocks.testing.parameters import described
from ultra_blocks.testing.row_flow import PRODUCTS, RowFlow
from ultra_core.contracts import SEED_ROLES, ParamInfo
from ultra_core.errors import did_you_mean, listed
from ultra_core.testing import Finding

GATES = frozenset({"sigmoid", "log_sigmoid_forward", "softplus", "hardsigmoid"})
"""Functions by which a projection opens a gate or sets a decay rate."""

KINDS = {
    "convolution": "conv",
    "embedding": "embedding",
    "index": "embedding",
    "index_select": "embedding",
    "exp": "gate",
    "sigmoid": "gate",
    "log_sigmoid_forward": "gate",
    "softplus": "gate",
    "tanh": "gate",
    "mul": "vector",
    "add": "vector",
    "sub": "vector",
    "div": "vector",
}
"""The kind of a parameter that goes straight into an operation, and into no matrix product."""

MISSPELT = 0.85
"""Similarity (of ``difflib``) of a role to one of the presets' from which it is a misspelling."""

WIDE = 8
"""The number of heads under which pieces of a projection are counted, so that heads are no matrices."""


def flow_of(case: Case) -> tuple[nn.Module, RowFlow]:
    """Build a plugin, with many heads if it accepts them, and follow its parameters through ``forward``."""
    module = _with_many_heads(case)
    flow = RowFlow(dict(module.named_parameters()))
    with flow:
        answer(case, module)
    return module, flow


def _with_many_heads(case: Case) -> nn.Module:
    if isinstance(case, BlockCase) and case.takes("num_heads"):
        try:
            return case.build(num_heads=WIDE)
        except ValueError:
            pass
    return case.build()


def fused_projections(case: Case) -> None:
    """``row_blocks`` are the pieces into which ``forward`` cuts the product of a fused projection.

    Optimizers that orthogonalise matrices must treat query, key and value as three. Heads are no row blocks.

    Fix: ``def row_blocks(self): return {"qkv_proj.weight": (D, D, D)}``, with the sizes in the order of the
    rows (in ``parameter_info``: ``ParamInfo(row_blocks=...)``).
    """
    module, flow = flow_of(case)
    few = described(case.build())
    for name, info in described(module).items():
        if info is None or info.kind not in ("matrix", "expert"):
            continue
        shape = tuple(module.get_parameter(name).shape)
        pieces = sorted(flow.pieces[name])
        sizes = tuple(stop - start for start, stop in pieces)
        default = few[name]
        if default and (heads := len(default.row_blocks)) != len(info.row_blocks):
            raise Finding(
                f"{name} has {heads} row blocks with the default number of heads and {len(info.row_blocks)} "
                f"with {WIDE} heads {shape}: heads are no row blocks"
            )
        if info.row_blocks and not pieces and flow.strided[name]:
            raise Finding(
                f"row_blocks of {name} {shape} are {info.row_blocks}, but forward takes single rows, "
                f"{flow.strided[name]} apart, for each matrix",
                fix="store the rows of each matrix together, and cut with ``chunk`` or ``split``",
            )
        if info.row_blocks:
            ends = {sum(info.row_blocks[:i]) for i in range(len(info.row_blocks) + 1)}
            for start, stop in pieces:
                if not {start, stop} <= ends:
                    raise Finding(
                        f"row_blocks of {name} {shape} are {info.row_blocks}, but forward takes its rows "
                        f"{start} to {stop}"
                    )
        elif shape[-2] > shape[-1] and _is_partition(pieces, shape[-2]) and len(pieces) != WIDE:
            raise Finding(
                f"forward cuts the product with {name} {shape} into {sizes}, and it has no row_blocks",
                fix=f"`def row_blocks(self): return {{{name!r}: {sizes}}}`, written with the sizes of the "
                "module, in the order of the rows (in `parameter_info`: `ParamInfo(row_blocks=...)`)",
            )


def _is_partition(pieces: list[tuple[int, int]], height: int) -> bool:
    """Whether the pieces, in order, are two or more and cover all rows once."""
    ends = [0, *(stop for _, stop in pieces)]
    return len(pieces) > 1 and [start for start, _ in pieces] == ends[:-1] and ends[-1] == height


def kinds(case: Case) -> None:
    """Kind, role and decay of a parameter agree with its use; gates, routers and vectors do not decay.

    Matrix optimizers orthogonalise what is said to be a matrix, and weight decay would close gates and change
    decay rates. A role is one of the presets' or the attribute ``role`` of the class.

    Fix: extend ``parameter_info``: ``{**super().parameter_info(), "gate_proj.weight":
    ParamInfo(role=self.role, kind="gate", decay=False)}``.
    """
    module, flow = flow_of(case)
    roles = {*SEED_ROLES, *(part.role for part in module.modules() if isinstance(part, Mixer))}
    _agree(module)
    _count_experts(module)
    for name, info in described(module).items():
        if info is None:
            continue
        shape = tuple(module.get_parameter(name).shape)
        for problem in _problems(case, name, shape, info, flow, roles):
            raise Finding(f"{name} {shape} {problem}")


def _problems(
    case: Case, name: str, shape: tuple[int, ...], info: ParamInfo, flow: RowFlow, roles: set[str]
) -> Iterator[str]:
    if typo := _typo(info.role, roles):
        yield typo
    said = f"says kind={info.kind!r}"
    if info.kind == "expert" and (info.expert_dim is None or info.expert_dim not in range(len(shape))):
        yield f"{said} and expert_dim={info.expert_dim}: which dimension counts the experts?"
    if info.kind in ("matrix", "expert") and (kind := _used_as(case, name, flow)):
        yield f"{said}, and is used as {kind}"
    if info.kind == "matrix" and len(shape) > 2:
        yield f"{said}, and is a stack of matrices: kind='expert' with its expert_dim (or 'conv')"
    vector = len(shape) < 2 or name.rpartition(".")[2].startswith("bias")
    if info.decay and info.role == "norms" and (name.endswith("bias") or flow.direct[name] == {"add"}):
        yield f"{said} and decay=True, and is added: `wd_norms` is for gains, which are multiplied"
    if info.decay and info.role != "norms" and (vector or info.kind in ("gate", "router", "vector")):
        yield f"{said} and decay=True: weight decay pulls it to zero"


def _used_as(case: Case, name: str, flow: RowFlow) -> str:
    """Return what a matrix is used as according to what happens to it; empty if as a matrix."""
    direct, bends, later = flow.direct[name], flow.bends[name], flow.later[name]
    if direct and direct <= KINDS.keys():
        return (
            f"kind={KINDS[min(direct)]!r}: it goes into no matrix product, only into {listed(sorted(direct))}"
        )
    if not direct & PRODUCTS:
        return ""
    if "topk" in later or (isinstance(case, FFNCase) and "_softmax" in bends):
        return "kind='router' with decay=False: its product selects experts"
    if isinstance(case, BlockCase) and bends and bends <= GATES:
        return f"kind='gate' with decay=False: its product goes only into {listed(sorted(bends))}"
    return ""


def _typo(role: str, roles: set[str]) -> str:
    near = get_close_matches(role, SEED_ROLES, n=1, cutoff=MISSPELT)
    if role in SEED_ROLES or (role in roles and not near):
        return ""
    hint = f" Did you mean {near[0]!r}?" if near else did_you_mean(role, roles)
    return f"has the role {role!r}, for which no preset sets a learning rate.{hint}"


def _agree(module: nn.Module) -> None:
    """Raise a finding if two modules, or two names of one parameter, have different descriptions of it."""
    names = {id(p): name for name, p in reversed(list(module.named_parameters(remove_duplicate=False)))}
    found: dict[int, tuple[str, ParamInfo]] = {}
    for path, part in module.named_modules():
        own = dict(part.named_parameters(remove_duplicate=False))
        describe = getattr(part, "parameter_info", None)
        for name, info in (describe() if describe is not None else {}).items():
            where, before = found.setdefault(id(own[name]), (path or "the outermost module", info))
            if before != info:
                raise Finding(
                    f"{names[id(own[name])]} has two descriptions: {_short(before)} by {where}, and "
                    f"{_short(info)} by {path or 'the outermost module'}"
                )


def _count_experts(module: nn.Module) -> None:
    """Raise a finding if the stacks of experts of one module have different numbers of them."""
    found: dict[str, tuple[str, int, int]] = {}
    for name, info in described(module).items():
        shape = tuple(module.get_parameter(name).shape)
        dim = None if info is None or info.kind != "expert" else info.expert_dim
        if dim is None or dim not in range(len(shape)):
            continue
        other, count, its = found.setdefault(name.rpartition(".")[0], (name, shape[dim], dim))
        if count != shape[dim]:
            raise Finding(
                f"expert_dim={dim} of {name} {shape} counts {shape[dim]} experts, "
                f"expert_dim={its} of {other} counts {count}",
                fix="`expert_dim=0` for weights of shape (experts, out, in)",
            )


def _short(info: ParamInfo) -> str:
    return f"{info.role}, {info.kind}, decay={info.decay}"


BLOCK_RULES("B15d", after=("B15b",), least="quick")(fused_projections)
FFN_RULES("F3b", after=("F3",), least="quick")(fused_projections)
BLOCK_RULES("B15e", after=("B15b",), least="quick")(kinds)
FFN_RULES("F3c", after=("F3",), least="quick")(kinds)
NORM_RULES("N4b", after=("N4",), least="quick")(kinds)
POSITION_RULES("P5b", after=("P5",), least="quick")(kinds)
