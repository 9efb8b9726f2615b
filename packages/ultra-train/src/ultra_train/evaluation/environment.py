"""The versions of the libraries that scores depend on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = ("ultra-train", "sentence-transformers", "torch", "bm25s", "pystemmer", "pytrec-eval-terrier")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
