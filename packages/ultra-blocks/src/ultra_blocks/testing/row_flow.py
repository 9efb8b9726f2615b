"""Follows the rows of parameters through a forward pass: which parts are cut out, and what they go into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

MOVES = frozenset(
    {
        "view",
        "_unsafe_view",
        "reshape",
        "permute",
        "transpose",
        "t",
        "split",
        "split_with_sizes",
        "slice",
        "select",
        "unbind",
        "expand",
        "unsqueeze",
        "squeeze",
        "clone",
        "contiguous",
        "index",
        "index_select",
        "detach",
        "alias",
        "flip",
        "narrow",
        "repeat",
        "unfold",
    }
)
"""Operations that move numbers and compute none."""

LOOKUPS = frozenset({"index", "index_select"})
"""Those by which a table is read."""

VIEWS = frozenset({"view", "_unsafe_view"})
"""Those that depend on strides, which the indices of rows do not share."""

PRODUCTS = frozenset(
    {
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
    }
)
"""Matrix products; their last two arguments are the factors."""

SCALES = frozenset(
    {
        "mul",
        "div",
        "add",
        "sub",
        "neg",
        "rsub",
        "_to_copy",
    }
)
"""Operations that are linear where the other operand is smaller: a scale, a bias, a conversion."""


@attrs.frozen(eq=False)
class Rows:
    """Which row of which parameter each number of a tensor comes from.

    Attributes:
        name: the parameter.
        index: the row of each number, in the shape of the tensor.
        projected: the tensor is a product with the parameter, not the parameter itself.
        whole: no part of it was cut out.
        bent: a non-linear function was applied.
    """

    name: str
    index: Tensor
    projected: bool = False
    whole: bool = True
    bent: bool = False


class RowFlow(TorchDispatchMode):
    """Records what happens to the rows of parameters while it is active.

    Attributes:
        pieces: ranges of rows that were cut out of a whole product, by parameter.
        strided: step between rows that were cut out of a whole product, where it is not 1; 0: none were.
        direct: the first operations on the parameter itself, and products with it.
        bends: the first non-linear operations on its products.
        later: all operations on its products.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.pieces: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self.strided: dict[str, int] = defaultdict(int)
        self.direct: dict[str, set[str]] = defaultdict(set)
        self.bends: dict[str, set[str]] = defaultdict(set)
        self.later: dict[str, set[str]] = defaultdict(set)
        self.known: dict[int, tuple[Tensor, Rows]] = {}  # the tensors are kept, so that no id is used twice
        for name, parameter in parameters.items():
            height = parameter.shape[-2] if parameter.ndim > 1 else parameter.numel()
            column = (height, 1) if parameter.ndim > 1 else parameter.shape
            self._enter(parameter, Rows(name, torch.arange(height).view(column).expand(parameter.shape)))

    def _enter(self, tensor: Tensor, rows: Rows) -> None:
        self.known[id(tensor)] = (tensor, rows)

    def _rows(self, value: Any) -> Rows | None:
        return self.known[id(value)][1] if isinstance(value, Tensor) and id(value) in self.known else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and follow the rows of its arguments."""
        out = func(*args, **(kwargs or {}))
        given = [value for value in tree_flatten((args, kwargs or {}))[0] if isinstance(value, Tensor)]
        tracked = [(tensor, rows) for tensor in given if (rows := self._rows(tensor)) is not None]
        name = func.overloadpacket.__name__
        for tensor, rows in tracked:
            if name in PRODUCTS:
                self._product(name, tensor, rows, given, out)
            elif name in MOVES:
                if name in LOOKUPS and not rows.projected:
                    self.direct[rows.name].add(name)
                if len(tracked) == 1:
                    move = torch.reshape if name in VIEWS else func
                    self._move(rows, move(*self._replaced(args), **(kwargs or {})), out)
            else:
                self._compute(name, tensor, rows, given, out)
        return out

    def _replaced(self, args: Any) -> Any:
        return tree_map(lambda value: value if (rows := self._rows(value)) is None else rows.index, args)

    def _move(self, rows: Rows, index: Any, out: Any) -> None:
        moved = zip(_tensors(out), _tensors(index), strict=True)
        for tensor, where in moved:
            present = where.unique()
            whole = rows.whole and len(present) == len(rows.index.unique())
            self._enter(tensor, attrs.evolve(rows, index=where, whole=whole))
            if rows.whole and not whole and len(present):
                first, last = int(present[0]), int(present[-1])
                steps = present.diff().unique()
                if last - first + 1 == len(present):
                    self.pieces[rows.name].add((first, last + 1))
                elif len(steps) == 1:
                    self.strided[rows.name] = int(steps[0])

    def _product(self, name: str, tensor: Tensor, rows: Rows, given: list[Tensor], out: Tensor) -> None:
        self._note(rows, name)
        left = given[-2] is tensor
        factor = left or given[-1] is tensor  # otherwise it is the bias of addmm
        if rows.projected or not factor or not rows.index.numel():
            return
        index = rows.index[..., :, :1] if left else rows.index[..., :1, :]
        if torch.equal(index.expand_as(rows.index), rows.index):
            self._enter(out, attrs.evolve(rows, index=index.expand_as(out), projected=True))

    def _compute(self, name: str, tensor: Tensor, rows: Rows, given: list[Tensor], out: Any) -> None:
        others = [other for other in given if other is not tensor]
        scaled = name in SCALES and all(other.numel() < tensor.numel() for other in others)
        if not scaled:
            self._note(rows, name)
        for result in _tensors(out):
            if result.shape == tensor.shape and result.is_floating_point():
                self._enter(result, rows if scaled else attrs.evolve(rows, bent=True))

    def _note(self, rows: Rows, operation: str) -> None:
        if not rows.projected:
            if not rows.bent or operation in PRODUCTS:
                self.direct[rows.name].add(operation)
            return
        self.later[rows.name].add(operation)
        if not rows.bent:
            self.bends[rows.name].add(operation)


def _tensors(value: Any) -> Iterator[Tensor]:
    parts: Iterable[Any] = value if isinstance(value, (tuple, list)) else [value]
    return (part for part in parts if isinstance(part, Tensor))
