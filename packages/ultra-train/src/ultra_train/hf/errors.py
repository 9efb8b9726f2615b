"""Short descriptions of errors that models of other authors raise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ultra_core.errors import UltraError


def describe_error(error: BaseException) -> str:
    """Return the type and the first line of an error, or the whole message of an ``UltraError``."""
    if isinstance(error, UltraError):
        return str(error)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def check_weight_shapes(info: Mapping[str, Any]) -> None:
    """Refuse a model whose weights have other shapes in its files than by its config.

    Args:
        info: the report of ``from_pretrained`` with ``output_loading_info`` and ``ignore_mismatched_sizes``.

    Raises:
        UltraError: a weight does not fit; the first one is named.
    """
    for name, found, wanted in sorted(info.get("mismatched_keys", ())):
        raise UltraError(f"{name} is {_shape(found)} in its files, but {_shape(wanted)} by its config")


def _shape(size: Iterable[int]) -> str:
    return " x ".join(map(str, size)) or "a number"
