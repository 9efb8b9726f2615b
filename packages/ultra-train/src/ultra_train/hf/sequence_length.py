"""The greatest sequence length that a model can really read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ultra_train.hf.probe import preserve_state, probe_inputs

_TOKENS = 6


def max_readable_length(model: Any) -> int | None:
    """Return the greatest sequence length in tokens, or None when no table of positions limits it.

    Runs six tokens through the model. A table that is looked up at six consecutive rows is a table of
    positions, and the first of these rows is its offset: RoBERTa and its relatives count from
    ``padding_idx + 1``, so that 514 rows are 512 positions.

    Args:
        model: a model of transformers that takes ``input_ids``.
    """
    tables = _Lookups()
    with preserve_state(model), tables:
        model.eval()(**probe_inputs(model, 1, _TOKENS))
    limits = [rows - first for first, rows in tables.positions]
    if limits and (configured := configured_length(model)) is not None:
        limits.append(
            configured
        )  # some tables have rows before their first position, which lookups do not show
    return min(limits, default=None)


def configured_length(model: Any) -> int | None:
    """Return the sequence length in a model's config, or None."""
    most = getattr(model.config, "max_position_embeddings", None)
    return most if isinstance(most, int) and most > 0 else None


def can_read(model: Any, length: int) -> bool:
    """Return whether a model can read a sequence of this length, by running one."""
    with preserve_state(model):
        try:
            model.eval()(**probe_inputs(model, 1, length))
        except (IndexError, RuntimeError, ValueError):
            return False
    return True


class _Lookups(TorchFunctionMode):
    """Records the tables that are looked up at consecutive rows: (first row, number of rows)."""

    def __init__(self) -> None:
        super().__init__()
        self.positions: list[tuple[int, int]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.embedding:
            self._record(args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _record(self, index: Tensor, table: Tensor) -> None:
        if index.dim() not in (1, 2) or index.shape[:-1].numel() != 1:
            return
        rows = index.flatten()[:_TOKENS].tolist()
        if rows == list(range(rows[0], rows[0] + _TOKENS)):
            self.positions.append((rows[0], table.shape[0]))
