"""Real models of sentence-transformers, as small as they can be."""

import numpy as np
import pytest

from support.given_vectors import DOCUMENTS
from ultra_core.errors import UltraError
from ultra_train.search.encoders import Encoder, EncodingOptions, identify, identify_all
from ultra_train.search.inference_free import static_queries

QUERIES = ["abre la puerta", "¿Dónde? la la LA casa", "xyz " * 40, "€"]


@pytest.fixture(scope="module")
def sparse(tiny_encoders):
    return Encoder(identify(str(tiny_encoders["sparse"])), EncodingOptions(device="cpu"))


def test_models_are_known_by_kind_and_content_before_they_are_loaded(tiny_encoders):
    found = identify_all([str(tiny_encoders["sparse"]), str(tiny_encoders["dense"])])
    assert {kind: identity.folder for kind, identity in found.items()} == {
        "dense": tiny_encoders["dense"],
        "sparse": tiny_encoders["sparse"],
    }
    assert found["dense"].fingerprint != identify(str(tiny_encoders["other"])).fingerprint
    with pytest.raises(UltraError, match=r"a/dense and .*b/dense are both dense"):
        identify_all([str(tiny_encoders["dense"]), str(tiny_encoders["other"])])


def test_dense_vectors_have_length_one_and_may_be_truncated(tiny_encoders):
    identity = identify(str(tiny_encoders["dense"]))
    full = Encoder(identity, EncodingOptions(device="cpu"))
    short = Encoder(identity, EncodingOptions(device="cpu", truncate_dim=8))
    texts = [document.searched for document in DOCUMENTS]
    whole, part = np.array(full.documents(texts)), np.array(short.queries(texts))
    assert (full.record.dimension, short.record.dimension) == (16, 8)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(UltraError, match="has 16 dimensions, so 32 cannot be kept"):
        Encoder(identity, EncodingOptions(device="cpu", truncate_dim=32))


def test_sparse_vectors_are_the_values_of_the_model_that_are_not_zero(sparse):
    texts = [document.searched for document in DOCUMENTS]
    expected = sparse.model.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    for found, row in zip(sparse.documents(texts), expected, strict=True):
        assert found.by_dimension() == pytest.approx({i: row[i] for i in np.flatnonzero(row)}, rel=1e-4)


def test_inference_free_queries_are_those_of_the_model_without_it(tiny_encoders, sparse):
    queries = static_queries(tiny_encoders["sparse"])
    assert queries is not None
    for query, expected in zip(QUERIES, sparse.queries(QUERIES), strict=True):
        assert queries.encode(query).by_dimension() == pytest.approx(expected.by_dimension())


def test_queries_of_a_dense_model_need_its_network(tiny_encoders):
    assert static_queries(tiny_encoders["dense"]) is None
