"""Seeded damage to files that a run reads."""

import json
import random
from collections.abc import Iterator
from typing import Any

from support.profile import NIGHTLY

COPIES = 2000 if NIGHTLY else 80
"""How many damaged copies of a file are tried."""

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


def damaged(content: bytes, seed: str) -> Iterator[bytes]:
    """Yield ``COPIES`` damaged copies of a file of JSON or YAML, the same ones for the same seed.

    Bytes flip, parts are lost or doubled, values become others of another type or depth.
    """
    draw = random.Random(seed)
    try:
        tree = json.loads(content)
    except ValueError:
        tree = None
    yield b""
    yield b"[" * 100_000
    yield b"\xff\xfe\x00" + content
    yield b"9" * 5000
    for _ in range(COPIES - 4):
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
