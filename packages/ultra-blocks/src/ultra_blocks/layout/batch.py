"""Layout: what a batch says about padding, packed documents and positions, shared by all layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from ultra_blocks.layout.checks import check_integers, check_mask, check_values, values_of
from ultra_blocks.layout.masks import key_mask, pair_mask
from ultra_blocks.layout.orders import (
    RealFirst,
    Segments,
    document_reversal,
    document_starts,
    real_tokens_first,
    segments,
)


@dataclass(frozen=True, eq=False)
class Layout:
    """Padding, packed documents and positions of a batch.

    A layout is built once per forward pass by :meth:`from_mask` or :meth:`full`, and shared by all layers. It
    is registered as a pytree, whose leaves are the three tensors. Building it reads their values (one
    synchronisation on an accelerator). Where that is impossible, inside ``torch.compile``, ``torch.export``
    and ``vmap``, nothing is checked and every batch counts as padded; build it outside to keep the faster
    paths.

    Attributes:
        mask: ``(B, T)`` bool, True at real tokens; padding may be left, right, inside, or a whole row.
        documents: ``(B, T)`` int64, number of the document in its row, from 0; -1 at padding.
        positions: ``(B, T)`` int64, position in the document, counting real tokens only; 0 at padding.
        padded: some token is padding.
        packed: some row holds more than one document.
        indexed: padding is on the right, every row is one document, and positions are the columns. One table
            then serves all rows, and a causal mask hides the padding too.
        memo: values that the layers of this forward pass share (cosines, masks); not part of the pytree.
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
        """Whether every token is real and every row is one document, so that no mask is needed."""
        return not (self.padded or self.packed)

    @classmethod
    def full(cls, batch: int, length: int, device: torch.device | str | None = None) -> Layout:
        """Return the layout of a batch without padding and with one document per row."""
        mask = torch.ones(batch, length, dtype=torch.bool, device=device)
        positions = torch.arange(length, device=device).expand(batch, length)
        return cls(mask, torch.zeros_like(positions), positions, padded=False, packed=False, indexed=True)

    @classmethod
    def from_mask(
        cls, mask: Tensor, documents: Tensor | None = None, positions: Tensor | None = None
    ) -> Layout:
        """Build a layout from a mask, document ids and positions.

        Args:
            mask: ``(B, T)`` of any dtype, True or 1 at real tokens and False or 0 at padding; B and T may be
                0. A row of floats needs a 1, since zeros may also be what is added to scores.
            documents: ``(B, T)`` integers; tokens with equal ids are one document, and ids do not decrease
                along the real tokens of a row. Values at padding are ignored. None: one document per row.
            positions: ``(B, T)`` integers >= 0; None: each document's tokens are counted from 0.

        Raises:
            ValueError: a shape, a dtype or a value is invalid.
        """
        check_mask(mask)
        flags, mask = mask, mask.bool()
        for name, given in (("documents", documents), ("positions", positions)):
            check_integers(name, given, mask)
        rank = mask.cumsum(1) - 1
        if documents is None:
            ids = torch.zeros_like(rank)
            starts = mask & (rank == 0)
            checks = [torch.ones((), dtype=torch.bool, device=mask.device)]
        else:
            # compare each real token with the highest id before it; padding repeats that id
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
        binary = (flags == mask).all()
        if flags.is_floating_point():
            binary = binary & mask.any(1).all()
        checks += [(chosen >= 0).all(), binary, mask.all(), (ids > 0).any(), in_place]
        tensors = (mask, torch.where(mask, ids, -1), chosen)
        values = values_of(torch.stack(checks))  # the only synchronisation
        if values is None:
            return cls(*tensors, padded=True, packed=documents is not None)
        ordered, positive, is_binary, every, packed, indexed = values
        check_values(binary=is_binary, ordered=ordered, positive=positive)
        return cls(*tensors, padded=not every, packed=packed, indexed=indexed)

    def zero_padding(self, x: Tensor) -> Tensor:
        """Return ``(B, T, ...)`` with zeros at padding; values there, NaN included, get no gradient.

        Raises:
            ValueError: ``x`` belongs to another batch.
        """
        self.check(x)
        if not self.padded:
            return x
        plain = x.is_cpu and x.is_contiguous() and not torch.compiler.is_compiling()
        if plain and (padding := self._padding) is not None:
            return x.flatten(0, 1).index_fill(0, padding, 0).view_as(x)  # half the time of torch.where
        mask = self.mask.reshape(self.mask.shape + (1,) * (x.ndim - 2))
        return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))

    def check(self, x: Tensor) -> None:
        """Raise unless ``x`` is ``(B, T, ...)``; another batch would be broadcast silently.

        Raises:
            ValueError: it is not.
        """
        if x.shape[:2] != self.mask.shape:
            raise ValueError(
                f"Layout: given a tensor {tuple(x.shape)}, but the mask of the layout is (batch, length) "
                f"{tuple(self.mask.shape)}; build the layout from the mask of this batch"
            )

    def attention_mask(self, causal: bool = False, window: int | None = None) -> Tensor | None:
        """Return the attention mask, bool ``(B, 1, 1, T)`` or ``(B, 1, T, T)``; None if nothing is masked.

        Padding keys and other documents are masked; with ``causal`` also later tokens, and with ``window``
        keys whose distance in positions exceeds ``window // 2`` (causal: ``window``). Queries at padding
        attend to something, so that no row is empty.
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
        return self.remember("starts", lambda: document_starts(self.mask, self.documents))

    @property
    def reversal(self) -> Tensor:
        """``(B, T)`` int64, the index that reverses the real tokens of each document in place.

        It is the identity at padding, and its own inverse.
        """
        return self.remember("reversal", lambda: document_reversal(self.mask, self.starts))

    @property
    def real_first(self) -> RealFirst:
        """The order that makes the tokens of each document adjacent, for convolutions and scans."""
        documents = self.documents if self.packed else None
        in_order = self.indexed or not self.padded
        return self.remember("real first", lambda: real_tokens_first(self.mask, documents, in_order=in_order))

    @property
    def segments(self) -> Segments:
        """The documents end to end, for kernels that take ``cu_seqlens``; reads values."""
        return self.remember("segments", lambda: segments(self.mask, self.starts))

    @property
    def _padding(self) -> Tensor | None:
        """Indices of the padding in the flattened batch; None where torch does not allow reading values."""
        return self.remember("padding", lambda: _index_of(~self.mask))

    @property
    def cu_seqlens(self) -> Tensor:
        """Borders ``(S + 1,)`` int32 of the documents among the real tokens of the flattened batch."""
        return self.segments.cu_seqlens

    @property
    def max_seqlen(self) -> int:
        """Length of the longest document; 0 if there is no real token."""
        return self.segments.max_seqlen

    def remember(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return ``make()``, computed once per forward pass; it must not depend on parameters.

        Under ``torch.compile`` it is recomputed: the compiler merges repeated work, and a graph must not
        write into objects that outlive it.
        """
        if key in self.memo:
            return self.memo[key]
        with torch.no_grad():
            made = make()
        if not torch.compiler.is_compiling():
            self.memo[key] = made
        return made


def _index_of(chosen: Tensor) -> Tensor | None:
    """Return where a flattened bool tensor is True; None under ``vmap`` and on the meta device."""
    try:
        return chosen.flatten().nonzero().flatten()
    except RuntimeError:
        return None


def check_layout(x: Tensor, layout: Layout | None) -> None:
    """Raise unless ``layout`` is None or belongs to the batch ``x`` ``(B, T, ...)``.

    Raises:
        ValueError: it belongs to another batch, or is no Layout (a bare mask, for example).
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
