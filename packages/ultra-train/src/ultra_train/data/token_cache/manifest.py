"""The manifest of a build: its sources and settings, its files with their checksums, and its counts.

It is the last file that is written, and holds a checksum of itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import xxhash

from ultra_train.data.errors import DataError
from ultra_train.data.sources.row_checker import SourceCounts

MANIFEST = "manifest.json"
SHARD = "shard-{:05d}.arrow"

_VERSION = 2  # the first one had no checksums and no counts
_SHARD_NAME = re.compile(r"shard-\d{5,}\.arrow")
_BLOCK = 2**20


class DamagedBuild(DataError):
    """A build that cannot be used; the message names the damaged file."""


@attrs.frozen
class Shard:
    """A file of a build."""

    file: str
    documents: int
    bytes: int
    checksum: str


@attrs.frozen
class Manifest:
    """The description of a build.

    Attributes:
        about: what its key is a hash of: sources, tokenizer, lengths.
        max_length: greatest number of tokens in a document.
        content: hash of the tokens.
        shards: the files.
        counts: the counts of each source.
    """

    about: Mapping[str, Any]
    max_length: int
    content: str
    shards: tuple[Shard, ...]
    counts: tuple[SourceCounts, ...]

    def to_json(self) -> str:
        """Return the text of the file."""
        body = {
            "version": _VERSION,
            **self.about,
            "content": self.content,
            "shards": [attrs.asdict(shard) for shard in self.shards],
            "source_documents": [counts.documents for counts in self.counts],
            "counts": [attrs.asdict(counts) for counts in self.counts],
        }
        return json.dumps({**body, "checksum": _checksum_of(body)}, indent=1)


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a build.

    Raises:
        DamagedBuild: it cannot be read, or differs from what was written.
    """
    path = directory / MANIFEST
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise ValueError("it is not a file")
        body = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(body, dict):
            raise ValueError("it is not an object")
        if "version" not in body and "content" in body:
            raise DamagedBuild(f"{path}: was made by an earlier version of ultra-train, without checksums")
        if body.pop("checksum", None) != _checksum_of(body):
            raise ValueError("it is not as it was written")
        if body["version"] != _VERSION:
            raise DamagedBuild(f"{path}: was made by another version of ultra-train")
        return _from_body(body)
    except OSError as error:
        raise DamagedBuild(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedBuild(f"{path}: is damaged ({error})") from error


def check(directory: Path) -> Manifest:
    """Read the manifest of a build, and check all of its files.

    Raises:
        DamagedBuild: a file differs from what was written.
    """
    manifest = read_manifest(directory)
    for shard in manifest.shards:
        path = directory / shard.file
        try:
            if (size := path.stat().st_size) != shard.bytes:
                raise DamagedBuild(f"{path}: has {size:,} bytes instead of {shard.bytes:,}")
            if checksum(path) != shard.checksum:
                raise DamagedBuild(f"{path}: is damaged (its checksum is not the one of {MANIFEST})")
            lengths = {len(read_column(path, name)) for name in ("tokens", "group")}
        except OSError as error:
            raise DamagedBuild(f"{path}: cannot be read ({error.strerror or error})") from error
        except (pa.ArrowException, KeyError, IndexError) as error:
            raise DamagedBuild(f"{path}: is damaged ({error})") from error
        if lengths != {shard.documents}:
            raise DamagedBuild(f"{path}: does not hold the {shard.documents:,} documents of {MANIFEST}")
    return manifest


def checksum(path: Path) -> str:
    """Return a checksum of a file's content; takes no longer than reading it."""
    digest, block = xxhash.xxh3_128(), bytearray(_BLOCK)
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(block):
            digest.update(memoryview(block)[:size])
    return digest.hexdigest()


def files_of(directory: Path) -> list[Path]:
    """Return the files that a manifest lists and, last, the manifest; empty when it cannot be read.

    Since the manifest may be damaged, only names of shards are accepted.
    """
    try:
        if not (directory / MANIFEST).is_file():
            return []
        listed = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["shards"]
        names = [shard["file"] for shard in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [directory / name for name in names if is_shard_name(name)] + [directory / MANIFEST]


def is_shard_name(name: object) -> bool:
    """Return whether a shard can have this name."""
    return isinstance(name, str) and _SHARD_NAME.fullmatch(name) is not None


def read_column(path: Path, name: str) -> pa.Array:
    """Return a column of a shard, memory-mapped and not copied."""
    with pa.memory_map(str(path)) as mapped:
        return pa.ipc.open_file(mapped).get_batch(0).column(name)


def _checksum_of(body: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _from_body(body: dict[str, Any]) -> Manifest:
    shards = tuple(_instance(Shard, entry) for entry in body.pop("shards"))
    counts = tuple(_instance(SourceCounts, entry) for entry in body.pop("counts"))
    if not shards or not all(is_shard_name(shard.file) for shard in shards):
        raise ValueError("it names no shards")
    if sum(shard.documents for shard in shards) != sum(entry.documents for entry in counts):
        raise ValueError("its documents do not add up")
    content, max_length = body.pop("content"), body["max_length"]
    if not isinstance(content, str) or not isinstance(max_length, int):
        raise TypeError("'content' and 'max_length' are of wrong types")
    del body["version"], body["source_documents"]
    return Manifest(body, max_length, content, shards, counts)


def _instance(cls: type[Any], entry: Mapping[str, Any]) -> Any:
    """Return an instance of a class whose fields are integers, texts, booleans and lists of texts."""
    instance = cls(**entry)
    kinds = {"str": str, "int": int, "bool": bool, "list[str]": list}
    for field in attrs.fields(cls):
        value = getattr(instance, field.name)
        if type(value) is not kinds[field.type] or (type(value) is int and value < 0):
            raise TypeError(f"{field.name!r} is {value!r}")
        if type(value) is list and not all(isinstance(item, str) for item in value):
            raise TypeError(f"{field.name!r} holds something that is not a text")
    return instance
