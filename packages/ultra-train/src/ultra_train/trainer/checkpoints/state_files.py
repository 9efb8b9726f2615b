"""Optimizer and random states as safetensors plus JSON: no pickles, and bit for bit what they were."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ultra_train.system import files
from ultra_train.trainer.checkpoints.folders import CheckpointError

DEVICES = ("cuda", "mps", "xpu")
"""Kinds of devices with random generators of their own."""


def save_state(stem: Path, tree: Any) -> None:
    """Write nested dicts, lists and tuples to ``stem.json``, the tensors in them to ``stem.safetensors``.

    Raises:
        CheckpointError: a value is neither a tensor nor plain, so it could not be read back safely.
    """
    tensors: dict[str, torch.Tensor] = {}
    shape = _encode(tree, tensors, stem.name)
    save_file(tensors, stem.with_suffix(".safetensors"))
    stem.with_suffix(".json").write_text(json.dumps(shape), "utf-8")


def load_state(stem: Path) -> Any:
    """Read back what :func:`save_tree` wrote, tensors on the CPU and in memory of their own.

    Raises:
        CheckpointError: the files are not there or not of that form.
    """
    try:
        tensors = load_file(stem.with_suffix(".safetensors"))
        shape = files.read_json(stem.with_suffix(".json"))
        return _decode(shape, {name: tensor.clone() for name, tensor in tensors.items()})
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{stem}: this state cannot be read ({error})") from error


def check_state(stem: Path) -> Any:
    """Return the tree that :func:`load_tree` would read, with empty tensors, which are not read.

    Raises:
        CheckpointError: it could not.
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
        f"{where} is a {type(value).__name__}; a state that is saved holds tensors, numbers, texts, lists "
        "and dicts only. This is a fault of the optimizer or schedule plugin."
    )


def _key(key: Any, where: str) -> Any:
    if type(key) not in (int, str):
        raise CheckpointError(f"{where} has the key {key!r}; keys of a state are texts or whole numbers")
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


def random_state() -> dict[str, Any]:
    """Return the state of every global random generator: Python, NumPy, torch, and each device."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "cpu": torch.random.get_rng_state(),
        **{kind: _device_states(getattr(torch, kind)) for kind in DEVICES},
    }


def _device_states(module: Any) -> list[torch.Tensor]:
    """Return the state of each device of a kind; empty where there is none."""
    if not module.is_available():
        return []
    return (
        list(module.get_rng_state_all()) if hasattr(module, "get_rng_state_all") else [module.get_rng_state()]
    )


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set every global random generator to a state from :func:`random_state`."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.random.set_rng_state(state["cpu"])
    for kind in DEVICES:
        module, states = getattr(torch, kind), state.get(kind, [])
        if len(states) != len(_device_states(module)):
            continue  # another machine
        for index, device_state in enumerate(states):
            module.set_rng_state(device_state, *([index] if kind != "mps" else []))
