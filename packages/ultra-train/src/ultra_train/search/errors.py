"""The error of indexes and of searching in them."""

from __future__ import annotations

from importlib.util import find_spec

from ultra_core.errors import UltraError


class SearchError(UltraError):
    """An index that cannot be built, reached or searched as asked; the message says what can be done."""


def require_milvus(*, embedded: bool) -> None:
    """Check that the libraries of the extra ``search`` are installed.

    Args:
        embedded: whether the index is a local file, which needs ``milvus-lite`` besides ``pymilvus``.

    Raises:
        SearchError: one is missing.
    """
    needed = {"pymilvus": "pymilvus", "milvus_lite": "milvus-lite"} if embedded else {"pymilvus": "pymilvus"}
    missing = [name for module, name in needed.items() if find_spec(module) is None]
    if missing:
        raise SearchError(
            f"an index needs {' and '.join(missing)}, which is not installed. Install it with: "
            'pip install "ultra-train[search]"'
        )
