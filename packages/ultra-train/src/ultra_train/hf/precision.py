"""The precision of weights in memory and in files."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils import SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

from ultra_core.errors import UltraError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def stored_dtype(base: str) -> torch.dtype | None:
    """Return the precision of most weights in the safetensors files of a model, or None without such files.

    Args:
        base: folder or name on the hub.

    Raises:
        UltraError: the weights are quantised and cannot be trained.
    """
    numbers: Counter[str] = Counter()
    for path in _weight_files(base):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (safetensors has no other way)
                numbers[file.get_slice(name).get_dtype()] += math.prod(file.get_slice(name).get_shape())
    if quantised := sorted(kind for kind in numbers if kind.startswith(("F8", "F4", "I8", "U8"))):
        raise UltraError(
            f"its weights are quantised ({', '.join(quantised)}); name the model before quantisation"
        )
    floats = [(count, kind) for kind, count in numbers.items() if kind in _FLOATS]
    return _FLOATS[max(floats)[1]] if floats else None


def _weight_files(base: str) -> list[Path]:
    if Path(base).is_dir():
        return sorted(Path(base).glob("*.safetensors"))
    found = cached_file(base, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    return [Path(found)] if found is not None else []


def convert_saved(folder: Path, precision: Precision) -> str | None:
    """Convert the weights of a saved model to another precision, in its files and in its config.

    Args:
        folder: folder that ``save_pretrained`` wrote.
        precision: the new precision.

    Returns:
        the name of a weight that is too large for the precision, in which case nothing is converted, or None.
    """
    dtype, files = DTYPES[precision], sorted(folder.glob("*.safetensors"))
    for path in files:
        for name, tensor in load_file(path).items():
            if tensor.is_floating_point() and not bool(tensor.to(dtype).isfinite().all()):
                return name
    for path in files:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file({name: _converted(t, dtype) for name, t in load_file(path).items()}, path, metadata)
    config = folder / "config.json"
    content = json.loads(config.read_text("utf-8"))
    content["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
    return None


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
