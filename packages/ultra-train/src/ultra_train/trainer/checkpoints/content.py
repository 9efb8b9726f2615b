"""Checks of the content of a checkpoint's files: no pickles, valid JSON, finite weights.

A checksum proves that a file is as it was written. These checks prove that its content is usable, and that
reading it runs no code. They read every tensor once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ultra_optim.sharded.layout import local_part
from ultra_train.system import files

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})
"""Suffixes of files that may hold pickled code."""
LOADED = frozenset({*PICKLES, ".safetensors"})
"""Suffixes of files that a loader may prefer to those that were written."""
SUFFIX = ".safetensors"


def content_damage(folder: Path, listed: Collection[str]) -> str | None:
    """Return what is wrong with the content of a checkpoint whose checksums agree, or None.

    Args:
        folder: the checkpoint.
        listed: names of the files in its manifest.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in PICKLES:
            return f"it holds {name}, which may be pickled code; ultra neither writes nor reads pickles"
        if name not in listed and (
            path.suffix in LOADED or path.name.startswith(("adapter_", "pytorch_model"))
        ):
            return f"{name} was added after it was written"
    for name in sorted(listed):
        path = folder / name
        if path.suffix == ".json":
            try:
                files.read_json(path)
            except ValueError as error:
                return f"{name} is not valid JSON ({error})"
        elif path.suffix == SUFFIX and (damage := _tensor_damage(path)) is not None:
            return damage
    return None


def _tensor_damage(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118  it is not a mapping
            bad = next(not_finite(tensors), None)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        return f"{path.name} is not a valid safetensors file ({error})"
    return None if bad is None else f"{bad} in {path.name} is not finite"


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[str]:
    """Yield the names of the tensors that hold NaN or infinity, in what this process has of them.

    A tensor of a single number may be infinite (an optimizer's best value so far), but not NaN.
    """
    for name, given in tensors:
        tensor = local_part(given)
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        if tensor.numel() == 1:
            fine = not bool(tensor.isnan())
        else:
            wide = tensor.detach() if tensor.element_size() > 1 else tensor.detach().float()
            fine = bool(torch.linalg.vector_norm(wide, torch.inf).isfinite())
        if not fine:
            yield name


def named_tensors(state: Mapping[object, object], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in nested mappings, lists and tuples with their path, such as ``0.exp_avg``."""
    for key, value in state.items():
        place = f"{prefix}{key}"
        if isinstance(value, Tensor):
            yield place, value
        elif isinstance(value, Mapping):
            yield from named_tensors(value, f"{place}.")
        elif isinstance(value, (list, tuple)):
            yield from named_tensors(dict(enumerate(value)), f"{place}.")
