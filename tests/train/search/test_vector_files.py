import json

import numpy as np
import pytest
from safetensors import safe_open

from ultra_train.search.encoding import Encoding
from ultra_train.search.errors import SearchError
from ultra_train.search.sparse_vectors import SparseVector
from ultra_train.search.vector_files import check_format

IDS = ["a", "ñ"]
DENSE = Encoding(IDS, np.array([[1, -2] * 4, [3, 0.5] * 4], dtype=np.float32), 8)
SPARSE = Encoding(IDS, [SparseVector.of({3: 0.5, 1: 2.0}), SparseVector.of({})], 6)


def test_dense_vectors_are_read_back_from_every_format(tmp_path):
    for ending in ("npy", "npz", "safetensors", "jsonl"):
        DENSE.write(tmp_path / f"v.{ending}")
    packed = np.load(tmp_path / "v.npz")
    with safe_open(tmp_path / "v.safetensors", "numpy") as file:
        read = [np.load(tmp_path / "v.npy"), packed["vectors"], file.get_tensor("vectors")]
        assert json.loads(file.metadata()["ids"]) == packed["ids"].tolist() == IDS
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == IDS
    for found in (*read, np.array([row["vector"] for row in rows])):
        np.testing.assert_array_equal(found, DENSE.vectors)


def test_sparse_vectors_are_read_back_by_scipy(tmp_path):
    from scipy.sparse import load_npz

    SPARSE.write(tmp_path / "v.npz")
    np.testing.assert_array_equal(load_npz(tmp_path / "v.npz").toarray(), [[0, 2, 0, 0.5, 0, 0], [0] * 6])
    assert [json.loads(line) for line in SPARSE.json_lines()] == [
        {"id": "a", "indices": [3, 1], "values": [0.5, 2.0]},
        {"id": "ñ", "indices": [], "values": []},
    ]


def test_quantised_vectors_keep_signs_or_ranges(tmp_path):
    DENSE.write(tmp_path / "v.npy", "binary")
    assert np.load(tmp_path / "v.npy").tolist() == [[0b10101010], [0b11111111]]
    DENSE.write(tmp_path / "v.npz", "int8")
    packed = np.load(tmp_path / "v.npz")
    assert packed["ranges"].tolist() == [[1, -2] * 4, [3, 0.5] * 4]
    assert packed["vectors"].dtype == np.int8
    low, high = packed["ranges"]
    restored = (packed["vectors"].astype(np.float32) + 128) * (high - low) / 255 + low
    np.testing.assert_allclose(restored, DENSE.vectors, atol=0.02)


@pytest.mark.parametrize(
    ("name", "sparse", "precision", "message"),
    [
        ("v.txt", False, "float32", "files that end in .jsonl, .npy, .npz, .safetensors"),
        ("nowhere/v.npy", False, "float32", "there is no folder"),
        ("v.npy", True, "float32", "cannot hold sparse vectors"),
        ("v.npz", True, "int8", "--quantize is for dense vectors"),
        ("v.npy", False, "int8", "need their ranges"),
    ],
)
def test_files_that_cannot_hold_the_vectors_are_refused(name, sparse, precision, message, tmp_path):
    with pytest.raises(SearchError, match=message):
        check_format(tmp_path / name, sparse=sparse, precision=precision)
