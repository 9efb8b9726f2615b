"""Shared by the tests of ultra-train: a cache, and seeded damage to files of JSON and YAML."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.profile import NIGHTLY


@pytest.fixture(scope="session")
def command_cache(tmp_path_factory) -> Path:
    """A cache folder for the embedded commands: each language is built once a session."""
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="session")
def mutations() -> Callable[[bytes, str], Iterator[bytes]]:
    """Yield 200 damaged copies of a file (2,000 at night), the same ones for the same seed.

    Bytes flip, parts are lost or doubled, values become others of another type or depth.
    """
    return lambda content, seed: _mutations(content, 2000 if NIGHTLY else 200, seed)


ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**40,
    10**400,
    1.5,
    float("nan"),
    float("-inf"),
    "",
    "x",
    "\ud800",
    "../../outside",
    [],
    {},
    [1],
    {"a": 1},
    [[1, 2], [3]],
]


def _mutations(content: bytes, count: int, seed: str) -> Iterator[bytes]:
    """Yield damaged copies of a file, the same ones for the same seed."""
    draw = random.Random(seed)
    try:
        tree = json.loads(content)
    except ValueError:
        tree = None
    yield b""
    yield b"[" * 100_000
    yield b"\xff\xfe\x00" + content
    yield b"9" * 5000
    for _ in range(count - 4):
        if tree is not None and draw.random() < 0.7:
            yield json.dumps(_other_value(json.loads(content), draw)).encode("utf-8", "surrogatepass")
        else:
            yield _other_bytes(content, draw)


def _other_bytes(content: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(content) + 1), draw.choice([1, 1, 3, 50])
    kind = draw.choice(["cut", "flip", "insert", "drop", "double"])
    if kind == "cut":
        return content[:at]
    if kind == "flip" and at < len(content):
        return content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :]
    if kind == "insert":
        return content[:at] + draw.randbytes(length) + content[at:]
    if kind == "drop":
        return content[:at] + content[at + length :]
    return content[:at] + content[at : at + 20 * length] * 2 + content[at + 20 * length :]


def _other_value(tree: Any, draw: random.Random) -> Any:
    """Replace, remove or rename something at a random depth."""
    if not isinstance(tree, (dict, list)) or not tree or draw.random() < 0.1:
        return draw.choice(ODD)
    key = draw.choice(list(tree)) if isinstance(tree, dict) else draw.randrange(len(tree))
    if draw.random() < 0.5 and isinstance(tree[key], (dict, list)) and tree[key]:
        tree[key] = _other_value(tree[key], draw)
    elif draw.random() < 0.2:
        del tree[key]
    elif draw.random() < 0.1 and isinstance(tree, dict):
        tree[f"{key}x"] = tree.pop(key)
    else:
        tree[key] = draw.choice(ODD)
    return tree


@pytest.fixture
def read_only(tmp_path):
    """Mount a folder again so that nothing in it can be written: ``read_only(folder)``."""
    mounted = []

    def mount(folder):
        where = tmp_path / "read-only"
        where.mkdir()
        for command in (["--bind", str(folder), str(where)], ["-o", "remount,bind,ro", str(where)]):
            if subprocess.run(["mount", *command], capture_output=True, check=False).returncode:
                pytest.skip("file systems cannot be mounted here")
            mounted[:] = [where]
        return where

    yield mount
    for where in mounted:
        subprocess.run(["umount", "--lazy", str(where)], check=True)  # shards stay mapped
