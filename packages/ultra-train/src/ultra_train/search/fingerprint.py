"""The fingerprint of a model: a hash of its weights, configuration, prompts and tokenizer, not its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xxhash

from ultra_train.search.errors import SearchError
from ultra_train.system import files

WEIGHTS = (".safetensors", ".bin", ".pt")
TEXTS = (".json", ".txt", ".model")
"""Suffixes of files that decide about the vectors; a model card and exports for other engines do not."""

_EXPORTS = {"onnx", "openvino"}
_WITHOUT_EFFECT = {"__version__", "transformers_version", "_name_or_path", "name_or_path"}
"""Keys of configurations that differ between two copies of the same model."""

_BLOCK = 2**22


def fingerprint(folder: Path) -> str:
    """Return the fingerprint of the model in a folder: 32 hexadecimal digits.

    Two folders have the same fingerprint when their models give the same vectors: the files with the same
    weights, configurations (without versions and paths) and tokenizers.

    Raises:
        SearchError: the folder holds no weights.
    """
    total, weights = xxhash.xxh3_128(), False
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or path.suffix not in WEIGHTS + TEXTS or _EXPORTS.intersection(name.parts):
            continue
        weights = weights or path.suffix in WEIGHTS
        total.update(name.as_posix().encode() + b"\0")
        total.update(_settings(path) if path.suffix == ".json" else _content(path))
    if not weights:
        raise SearchError(f"{folder}: holds no weights of a model")
    return total.hexdigest()


def _content(path: Path) -> bytes:
    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hashed.update(block)
    return hashed.digest()


def _settings(path: Path) -> bytes:
    try:
        tree = files.read_json(path)
    except ValueError:
        return _content(path)
    return json.dumps(_without_versions(tree), sort_keys=True).encode()


def _without_versions(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_versions(value) for key, value in tree.items() if key not in _WITHOUT_EFFECT}
    return [_without_versions(item) for item in tree] if isinstance(tree, list) else tree
