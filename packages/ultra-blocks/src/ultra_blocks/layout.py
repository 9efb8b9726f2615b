"""Layout: which tokens are real, which document each belongs to, and where in it each stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree

from ultra_blocks.functional.masks import key_mask, pair_mask


class Segments(NamedTuple):
    """Documents laid end to end without padding, as kernels for ragged batches want them.

    ``real`` is the index ``(N,)`` of the real tokens in the flattened batch, ``cu_seqlens`` the borders of
    the S documents among them, int32 ``(S + 1,)``, and ``max_seqlen`` the longest document.
    """

    real: Tensor
    cu_seqlens: Tensor
    max_seqlen: int


class RealFirst(NamedTuple):
    """Rows with their real tokens in front and all padding behind, where neighbours stand side by side.

    ``order`` ``(B, T)`` gathers such rows and ``back`` undoes it; both None where rows are so already.
    ``mask`` and ``documents`` ``(B, T)`` are those of the gathered rows; ``documents`` is None where every
    row is one document.
    """

    order: Tensor | None
    back: Tensor | None
    mask: Tensor
    documents: Tensor | None

    def gather(self, x: Tensor) -> Tensor:
        """Put the real tokens of ``(B, T, D)`` first."""
        return x if self.order is None else x.gather(1, self.order[..., None].expand_as(x))

    def scatter(self, y: Tensor) -> Tensor:
        """Put the tokens of ``(B, T, D)`` back to where they came from."""
        return y if self.back is None else y.gather(1, self.back[..., None].expand_as(y))


@dataclass(frozen=True, eq=False)
class Layout:
    """The shape of a batch, built once per forward by :meth:`from_mask` or :meth:`full` and shared by layers.

    Registered as a pytree: the three tensors are its leaves, the flags static. Building it looks at the
    values (one synchronisation on an accelerator), so it is built outside ``torch.compile``.

    Attributes:
        mask: ``(B, T)`` bool, True = real token; padding may be left, right, inside, or a whole row.
        documents: ``(B, T)`` int64, the document's number inside its row, 0.., and -1 at padding.
        positions: ``(B, T)`` int64, position within the document over real tokens only; 0 at padding.
        padded: some token is padding.
        packed: some row holds more than one document.
        indexed: padding is on the right, one document a row, and positions are the columns: one table serves
            all rows, and a causal mask hides the padding too.
        memo: what layers of this forward share (cosines, masks); not part of the pytree.
    """

    mask: Tensor
    documents: Tensor
    positions: Tensor
    padded: bool
    packed: bool
    indexed: bool = False
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def dense(self) -> bool:
        """Whether every token is real and every row one document, so that no mask is needed anywhere."""
        return not (self.padded or self.packed)

    @classmethod
    def full(cls, batch: int, length: int, device: torch.device | str | None = None) -> Layout:
        """Return the layout of a batch without padding, one document a row."""
        mask = torch.ones(batch, length, dtype=torch.bool, device=device)
        positions = torch.arange(length, device=device).expand(batch, length)
        return cls(mask, torch.zeros_like(positions), positions, padded=False, packed=False, indexed=True)

    @classmethod
    def from_mask(
        cls, mask: Tensor, documents: Tensor | None = None, positions: Tensor | None = None
    ) -> Layout:
        """Build a layout from what a batch says of itself.

        Args:
            mask: ``(B, T)``, True or 1 at real tokens and False or 0 at padding; B and T may be 0.
            documents: ``(B, T)`` integers; equal numbers are one document, and numbers do not decrease along
                the real tokens of a row. Any number may stand at padding. None: a row is one document.
            positions: ``(B, T)`` integers >= 0, used instead of counting each document's tokens from 0.

        Raises:
            ValueError: a shape, a dtype or a value is not as said.
        """
        _check_mask(mask)
        flags, mask = mask, mask.bool()
        for name, given in (("documents", documents), ("positions", positions)):
            _check_integers(name, given, mask)
        rank = mask.cumsum(1) - 1
        if documents is None:
            ids = torch.zeros_like(rank)
            starts = mask & (rank == 0)
            checks = [torch.ones((), dtype=torch.bool, device=mask.device)]
        else:
            # each real token against the highest number before it; padding repeats that number
            highest = torch.where(mask, documents.long(), -1).cummax(1).values
            before = torch.nn.functional.pad(highest[:, :-1], (1, 0), value=-1)
            checks = [((documents >= before) & (documents >= 0) | ~mask).all()]
            starts = mask & (highest > before)
            ids = starts.cumsum(1) - 1
        counted = rank - torch.where(starts, rank, 0).cummax(1).values
        chosen = counted if positions is None else positions.long()
        chosen = torch.where(mask, chosen, 0)
        columns = torch.arange(mask.shape[1], device=mask.device)
        in_place = ((chosen == columns) & (counted == columns) | ~mask).all()
        checks += [(chosen >= 0).all(), (flags == mask).all(), mask.all(), (ids > 0).any(), in_place]
        # the one synchronisation
        ordered, positive, binary, every, packed, indexed = torch.stack(checks).tolist()
        if not binary:
            raise ValueError(
                "Layout: a mask of integers (attention_mask) must be 1 at real tokens and 0 at padding, but "
                "holds other numbers; numbers of packed documents are given as documents (document_ids)"
            )
        if not ordered:
            raise ValueError(
                "Layout: the documents of a row must be numbered 0 or more, in reading order, each in one "
                "piece; a number goes down along a row or is negative at a real token"
            )
        if not positive:
            raise ValueError("Layout: positions must be 0 or more at real tokens; one is negative")
        return cls(
            mask,
            torch.where(mask, ids, -1),
            chosen,
            padded=not every,
            packed=packed,
            indexed=indexed,
        )

    def zero_padding(self, x: Tensor) -> Tensor:
        """Return ``(B, T, ...)`` with zeros at padding; what stood there, NaN included, gets no gradient.

        Raises:
            ValueError: ``x`` is of another batch than this layout.
        """
        self.check(x)
        if not self.padded:
            return x
        plain = x.is_cpu and x.is_contiguous() and not torch.compiler.is_compiling()
        if plain and (padding := self._padding) is not None:
            return x.flatten(0, 1).index_fill(0, padding, 0).view_as(x)  # in half the time of the next
        mask = self.mask.reshape(self.mask.shape + (1,) * (x.ndim - 2))
        return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))

    def check(self, x: Tensor) -> None:
        """Raise unless ``x`` is ``(B, T, ...)``: another batch would be spread over this one in silence.

        Raises:
            ValueError: it is not.
        """
        if x.shape[:2] != self.mask.shape:
            raise ValueError(
                f"Layout: given a tensor {tuple(x.shape)}, but the mask of the layout is (batch, length) "
                f"{tuple(self.mask.shape)}; build the layout from the mask of this batch"
            )

    def attention_mask(self, causal: bool = False, window: int | None = None) -> Tensor | None:
        """Return who may see whom as bool ``(B, 1, 1, T)`` or ``(B, 1, T, T)``; None when all see all.

        Padding keys and other documents are hidden, with ``causal`` also what comes later, with ``window``
        what is farther than ``window // 2`` on either side (causal: than ``window`` back) in positions.
        Queries at padding see something, so that no row is empty.
        """
        if not (causal or window is not None or self.packed):
            return None if self.dense else self.remember("keys", lambda: key_mask(self.mask))
        return self.remember(
            ("pairs", causal, window),
            lambda: pair_mask(self.mask, self.documents, self.positions, causal=causal, window=window),
        )

    @property
    def starts(self) -> Tensor:
        """``(B, T)`` bool, True at the first token of each document in reading order."""
        return self.remember("starts", self._starts)

    def _starts(self) -> Tensor:
        highest = self.documents.cummax(1).values
        return self.mask & (highest > torch.nn.functional.pad(highest[:, :-1], (1, 0), value=-1))

    @property
    def reversal(self) -> Tensor:
        """``(B, T)`` int64: gathering with it reverses the real tokens of each document in place.

        The identity at padding, and its own inverse.
        """
        return self.remember("reversal", self._reversal)

    def _reversal(self) -> Tensor:
        rank = self.mask.cumsum(1) - 1
        first = torch.where(self.starts, rank, 0).cummax(1).values
        # the last rank of a document: one less than the next start, seen from the right
        ends = torch.nn.functional.pad(self.starts[:, 1:], (0, 1), value=False)
        ends = torch.where(ends, rank, self.mask.shape[1] + 1)
        ends[:, -1:] = rank[:, -1:]
        last = ends.flip(1).cummin(1).values.flip(1)
        columns = torch.arange(self.mask.shape[1], device=self.mask.device).expand_as(rank)
        real_first = (~self.mask).to(torch.int8).argsort(dim=1, stable=True)
        mirrored = torch.where(self.mask, first + last - rank, 0)
        return torch.where(self.mask, real_first.gather(1, mirrored), columns)

    @property
    def real_first(self) -> RealFirst:
        """What brings the tokens of each document next to each other, for convolutions and scans."""
        return self.remember("real first", self._real_first)

    def _real_first(self) -> RealFirst:
        documents = self.documents if self.packed else None
        if self.indexed or not self.padded:
            return RealFirst(None, None, self.mask, documents)
        order = (~self.mask).to(torch.uint8).argsort(dim=1, stable=True)
        if documents is not None:
            documents = documents.gather(1, order)
        return RealFirst(order, order.argsort(dim=1), self.mask.gather(1, order), documents)

    @property
    def segments(self) -> Segments:
        """The documents end to end, for kernels that take ``cu_seqlens``; looks at the values."""
        return self.remember("segments", self._segments)

    def _segments(self) -> Segments:
        real = self.mask.flatten().nonzero().flatten()
        borders = self.starts.flatten()[real].nonzero().flatten()
        end = torch.full((1,), len(real), device=real.device, dtype=borders.dtype)
        cu_seqlens = torch.cat([borders, end]).to(torch.int32)
        longest = int(cu_seqlens.diff().max()) if len(borders) else 0
        return Segments(real, cu_seqlens, longest)

    @property
    def _padding(self) -> Tensor | None:
        """Index of the padding in the flattened batch; None where torch lets nobody look at the values."""
        return self.remember("padding", lambda: _index_of(~self.mask))

    @property
    def cu_seqlens(self) -> Tensor:
        """int32 borders of the documents among the real tokens of the flattened batch."""
        return self.segments.cu_seqlens

    @property
    def max_seqlen(self) -> int:
        """Tokens of the longest document; 0 when nothing is real."""
        return self.segments.max_seqlen

    def remember(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what ``make()`` gives, made once per forward; it must not depend on parameters.

        Under ``torch.compile`` it is made anew: the compiler merges repeated work, and a graph may not write
        into objects that outlive it.
        """
        if key in self.memo:
            return self.memo[key]
        with torch.no_grad():
            made = make()
        if not torch.compiler.is_compiling():
            self.memo[key] = made
        return made


def _index_of(chosen: Tensor) -> Tensor | None:
    """Return where a flattened bool tensor is True; None under ``vmap`` over it and without its memory."""
    try:
        return chosen.flatten().nonzero().flatten()
    except RuntimeError:
        return None


def check_layout(x: Tensor, layout: Layout | None) -> None:
    """Raise unless ``layout`` is None or the layout of the batch ``x`` ``(B, T, ...)``.

    Raises:
        ValueError: it is of another batch, or no layout, as a bare mask is not.
    """
    if layout is None:
        return
    if not isinstance(layout, Layout):
        given = f"a tensor {tuple(layout.shape)}" if isinstance(layout, Tensor) else type(layout).__name__
        raise ValueError(
            f"layout must be a Layout or None, given {given}; build it from a mask (batch, length), True at "
            "real tokens, with Layout.from_mask(mask)"
        )
    layout.check(x)


def _check_mask(mask: Tensor) -> None:
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.is_floating_point() or mask.is_complex():
        given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            "Layout: mask must be a tensor (batch, length), bool or integers, True or 1 at real tokens; "
            f"given {given}"
        )


def _check_integers(name: str, given: Tensor | None, mask: Tensor) -> None:
    if given is None:
        return
    if given.shape != mask.shape or given.is_floating_point() or given.dtype is torch.bool:
        raise ValueError(
            f"Layout: {name} must be an integer tensor of the mask's shape {tuple(mask.shape)}; "
            f"given {given.dtype} {tuple(given.shape)}"
        )


def _flatten(layout: Layout) -> tuple[list[Tensor], tuple[bool, bool, bool]]:
    leaves = [layout.mask, layout.documents, layout.positions]
    return leaves, (layout.padded, layout.packed, layout.indexed)


def _unflatten(leaves: Any, flags: tuple[bool, bool, bool]) -> Layout:
    mask, documents, positions = leaves
    return Layout(mask, documents, positions, *flags)


def _flatten_with_keys(layout: Layout) -> tuple[list[tuple[Any, Any]], Any]:
    leaves, flags = _flatten(layout)
    names = ("mask", "documents", "positions")
    return [(_pytree.GetAttrKey(n), leaf) for n, leaf in zip(names, leaves, strict=True)], flags


_pytree.register_pytree_node(
    Layout,
    _flatten,
    _unflatten,
    flatten_with_keys_fn=_flatten_with_keys,
    serialized_type_name="ultra_blocks.layout.Layout",
)
