"""The precision that weights are held and saved in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def convert_saved(folder: Path, precision: Precision) -> str | None:
    """Convert the weights of a saved model to another precision, in its files and in its config.

    Args:
        folder: what ``save_pretrained`` wrote.
        precision: the precision that the weights then have.

    Returns:
        the name of a weight that is too large for it, in which case nothing is converted; else None.
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
