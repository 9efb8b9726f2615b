from __future__ import annotations

import numpy as np
import pytest

from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.vectors import QuantisedVectors, truncated


def unit(count, width=40, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    """500 documents, 20 queries close to the first 20 of them."""
    documents = unit(500)
    return documents, documents[:20] + 0.5 * unit(20, seed=1)


def recall(rows, documents, queries, k=10):
    exact = np.argsort(-(queries @ documents.T), axis=1)[:, :k]
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(rows, exact, strict=True)])


def test_truncated_vectors_have_length_one(vectors):
    documents, _ = vectors
    found = truncated(documents, 10)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        found * np.linalg.norm(documents[:, :10], axis=1, keepdims=True), documents[:, :10], atol=1e-6
    )
    with pytest.raises(EncoderError, match="vectors of 40 numbers cannot be truncated to 41"):
        truncated(documents, 41)


def test_bytes_keep_the_order_and_the_scores(vectors):
    documents, queries = vectors
    quantised = QuantisedVectors.of(documents, "int8")
    assert quantised.codes.nbytes * 4 == documents.nbytes
    step = (quantised.ranges[1] - quantised.ranges[0]) / 255
    assert (np.abs(quantised.restored(slice(None)) - documents) <= 0.51 * step + 1e-6).all()
    rows, scores = quantised.nearest(queries, 10)
    assert recall(rows, documents, queries) > 0.95
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ documents.T, rows, 1), atol=0.03)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_bits_find_candidates_that_are_scored_again(vectors):
    documents, queries = vectors
    quantised = QuantisedVectors.of(documents, "binary")
    assert quantised.codes.nbytes * 32 == documents.nbytes
    alone, _ = quantised.nearest(queries, 10, oversample=1)
    scored, scores = quantised.nearest(queries, 10, oversample=30, exact=documents)
    assert recall(alone, documents, queries) < recall(scored, documents, queries)
    assert recall(scored, documents, queries) > 0.95
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ documents.T, scored, 1), rtol=1e-5)
    assert (alone[:, 0] == np.arange(20)).mean() > 0.8


def test_odd_widths_constant_dimensions_and_few_vectors():
    documents = unit(3, width=13)
    documents[:, 4] = 0.25
    for precision in ("int8", "binary"):
        quantised = QuantisedVectors.of(documents, precision)
        rows, scores = quantised.nearest(documents, 10)
        assert rows.shape == scores.shape == (3, 3)
        assert (rows[:, 0] == np.arange(3)).all()
        assert np.isfinite(scores).all()


def test_values_beyond_given_ranges_become_the_nearest_step():
    ranges = np.array([[-1.0], [1.0]], dtype=np.float32)
    quantised = QuantisedVectors.of(np.array([[-5.0], [5.0]], dtype=np.float32), "int8", ranges)
    np.testing.assert_allclose(quantised.restored(slice(None)).ravel(), [-1, 1], atol=0.01)
