"""Vectors in files: JSON lines, NumPy arrays and safetensors, also quantised."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ultra_core.errors import listed
from ultra_train.search.errors import SearchError
from ultra_train.search.sparse_vectors import SparseVector
from ultra_train.system import files

Precision = Literal["float32", "int8", "binary"]

FORMATS = (".jsonl", ".npy", ".npz", ".safetensors")


def check_format(path: Path, *, sparse: bool, precision: Precision) -> None:
    """Check that a file can hold the vectors, before they are computed.

    Args:
        path: the file; the end of its name decides the format.
        sparse: whether the vectors are sparse.
        precision: the type of the numbers.

    Raises:
        SearchError: the format is unknown, or cannot hold them.
    """
    if path.suffix not in FORMATS:
        raise SearchError(f"{path}: vectors are written to files that end in {listed(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise SearchError(f"{path}: there is no folder {path.absolute().parent}")
    if sparse and precision != "float32":
        raise SearchError("--quantize is for dense vectors; sparse ones are small already")
    if path.suffix == ".npy" and sparse:
        raise SearchError(f"{path}: a .npy file cannot hold sparse vectors; choose .npz")
    if path.suffix == ".npy" and precision == "int8":
        raise SearchError(f"{path}: int8 vectors need their ranges beside them; choose .npz or .safetensors")


def quantise(vectors: np.ndarray, precision: Precision) -> dict[str, np.ndarray]:
    """Return the arrays that stand for dense vectors.

    Args:
        vectors: (texts, dimensions) in float32.
        precision: ``int8`` divides the range of every dimension into 256 steps, ``binary`` keeps the signs,
            eight in a byte.

    Returns:
        ``vectors``, and for ``int8`` the least and the greatest value of every dimension as ``ranges``
        (2, dimensions), by which queries must be quantised too.

    Raises:
        SearchError: the dimensions do not fill whole bytes.
    """
    if precision == "float32":
        return {"vectors": vectors}
    from ultra_train.embeddings.vectors import QuantisedVectors

    if precision == "binary" and vectors.shape[1] % 8:
        raise SearchError(f"{vectors.shape[1]} dimensions do not fill whole bytes; keep a multiple of 8")
    found = QuantisedVectors.of(vectors, precision)
    return {"vectors": found.codes} | ({} if found.ranges is None else {"ranges": found.ranges})


def sparse_arrays(vectors: list[SparseVector], dimension: int) -> dict[str, np.ndarray]:
    """Return sparse vectors as the arrays that ``scipy.sparse.load_npz`` reads.

    Args:
        vectors: the vector of every text.
        dimension: number of dimensions.
    """
    return {
        "indices": np.concatenate([vector.indices for vector in vectors]),
        "indptr": np.cumsum([0, *(len(vector.indices) for vector in vectors)]),
        "data": np.concatenate([vector.values for vector in vectors]),
        "shape": np.array([len(vectors), dimension]),
    }


def write_arrays(path: Path, ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a ``.npy``, ``.npz`` or ``.safetensors`` file, completely or not at all.

    Args:
        path: the file; ``.npy`` keeps only ``vectors``, in the order of the ids.
        ids: what every vector belongs to.
        arrays: the result of :func:`quantise` or :func:`sparse_arrays`.
    """
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npy":
            np.save(file, arrays["vectors"])
        elif path.suffix == ".npz":
            layout = {} if "vectors" in arrays else {"format": np.array(b"csr")}
            named: dict[str, Any] = {"ids": np.array(ids, dtype=str), **layout, **arrays}
            np.savez_compressed(file, **named)
        else:
            from safetensors.numpy import save

            file.write(save(dict(arrays), metadata={"ids": json.dumps(list(ids), ensure_ascii=False)}))
