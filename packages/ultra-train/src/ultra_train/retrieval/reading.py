"""Reading a collection from wherever its name says it is."""

from __future__ import annotations

from collections.abc import Sequence

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.sources.embedded import is_embedded
from ultra_train.data.sources.files import suggestion
from ultra_train.retrieval.beir import LAYOUT, is_beir, read_beir
from ultra_train.retrieval.collection import Collection
from ultra_train.retrieval.commands import read_commands
from ultra_train.retrieval.hub_collections import MTEB, NANOBEIR, read_mteb, read_nanobeir
from ultra_train.system.files import expand_user


def is_collection(source: str) -> bool:
    """Whether a name stands for a collection, and not for a file of text pairs."""
    return is_embedded(source) or source.startswith((NANOBEIR, MTEB)) or is_beir(expand_user(source))


def read_collection(
    source: str, splits: Sequence[str] = ("test",), optional: Sequence[str] = ()
) -> Collection:
    """Read a collection.

    Args:
        source: a folder in the layout of BEIR, a ``.tar.gz`` of one, ``nanobeir:NAME``, ``mteb:TASK``, or
            ``ultra:<language>-commands``.
        splits: the splits whose judgements are needed.
        optional: splits whose judgements are read if they exist.

    Raises:
        DataError: it does not exist, cannot be read, has another layout, or its parts do not fit together.
    """
    if is_embedded(source):
        return read_commands(source)
    if source.startswith(NANOBEIR):
        if others := [split for split in splits if split != "test"]:
            raise DataError(f"{source}: NanoBEIR has only the split 'test', not {listed(others)}")
        return read_nanobeir(source.removeprefix(NANOBEIR))
    if source.startswith(MTEB):
        return read_mteb(source.removeprefix(MTEB), splits, optional)
    path = expand_user(source)
    if not path.exists():
        raise DataError(
            f"{source}: there is no such folder or archive.{suggestion(source)} Give a folder with {LAYOUT}, "
            f"a .tar.gz of one, {NANOBEIR}NAME or {MTEB}TASK."
        )
    return read_beir(path, splits, optional)
