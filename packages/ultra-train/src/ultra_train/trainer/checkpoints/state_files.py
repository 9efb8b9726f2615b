"""States of optimizers, schedules and random generators as safetensors plus JSON: exact, not pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ultra_train.system import files
from ultra_train.trainer.checkpoints.folders import CheckpointError


def save_state(stem: Path, state: Any) -> None:
    """Write nested dicts, lists and tuples to ``stem.json``, and the tensors in them to ``stem.safetensors``.

    Raises:
        CheckpointError: a value is neither a tensor nor plain data, so it could not be read back safely.
    """
    tensors: dict[str, torch.Tensor] = {}
    shape = _encode(state, tensors, stem.name)
    save_file(tensors, stem.with_suffix(".safetensors"))
    stem.with_suffix(".json").write_text(json.dumps(shape), "utf-8")


def load_state(stem: Path, *, mapped: bool = False) -> Any:
    """Read what :func:`save_state` wrote; the tensors are on the CPU.

    Args:
        stem: path of the files without their suffixes.
        mapped: return tensors that are read from the file where they are used, and must be copied before
            they are written to; otherwise they own their memory.

    Raises:
        CheckpointError: the files are missing or have another form.
    """
    try:
        tensors = load_file(stem.with_suffix(".safetensors"))
        shape = files.read_json(stem.with_suffix(".json"))
        return _decode(shape, tensors if mapped else {name: t.clone() for name, t in tensors.items()})
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{stem}: this state cannot be read ({error})") from error


def check_state(stem: Path) -> Any:
    """Return the state that :func:`load_state` would read, with empty tensors; reads no tensor.

    Raises:
        CheckpointError: :func:`load_state` could not read it.
    """
    try:
        with safe_open(stem.with_suffix(".safetensors"), framework="pt") as file:
            empty = dict.fromkeys(file.keys(), torch.empty(0))
        return _decode(files.read_json(stem.with_suffix(".json")), empty)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{stem.name} cannot be read ({error})") from error


def _encode(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[_key(k, where), _encode(v, tensors, f"{where}[{k!r}]")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_encode(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise CheckpointError(
        f"{where} is a {type(value).__name__}; a saved state may hold tensors, numbers, strings, lists "
        "and dicts only. This is an error in the optimizer or schedule plugin."
    )


def _key(key: Any, where: str) -> Any:
    if type(key) not in (int, str):
        raise CheckpointError(
            f"{where} has the key {key!r}; keys of a state must be strings or whole numbers"
        )
    return key


def _decode(shape: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(shape, (dict, list)):
        return shape
    if not isinstance(shape, dict) or len(shape) != 1:
        raise ValueError("a value is neither plain nor a tensor, dict, list or tuple")
    ((kind, content),) = shape.items()
    if kind == "tensor" and isinstance(content, str):
        if content not in tensors:
            raise ValueError(f"the tensor {content[:40]!r} is missing")
        return tensors[content]
    if not isinstance(content, list):
        raise ValueError(f"{kind[:40]!r} has no list of values")
    if kind == "dict":
        if not all(isinstance(p, list) and len(p) == 2 and type(p[0]) in (int, str) for p in content):
            raise ValueError("a dict is not a list of keys and values")
        return {k: _decode(v, tensors) for k, v in content}
    if kind not in ("list", "tuple"):
        raise ValueError(f"{kind[:40]!r} is none of tensor, dict, list, tuple")
    items = [_decode(v, tensors) for v in content]
    return tuple(items) if kind == "tuple" else items
