from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

from support.word_encoders import dense_encoder, sparse_encoder, word_tokenizer
from ultra_core.errors import UltraError
from ultra_train.evaluation.sparsity import sparsity_of
from ultra_train.evaluation.vectors import DenseVectors, SparseVectors, vectors_of

TEXTS = ["la puerta del garaje", "la luz", "otra cosa"]


def test_a_model_is_evaluated_as_what_it_is() -> None:
    dense, sparse = dense_encoder(TEXTS), sparse_encoder(TEXTS)
    assert isinstance(vectors_of(dense, "d"), DenseVectors)
    assert isinstance(vectors_of(sparse, "s"), SparseVectors)
    with pytest.raises(UltraError, match="s is a SparseEncoder; dense vectors come from a SentenceTransf"):
        DenseVectors(sparse, "s")
    with pytest.raises(UltraError, match="d is a SentenceTransformer; sparse vectors come from a SparseEnc"):
        SparseVectors(dense, "d")
    disguised = SentenceTransformer(modules=[SparseStaticEmbedding(word_tokenizer(TEXTS))], device="cpu")
    with pytest.raises(UltraError, match="has SparseStaticEmbedding, so it is sparse"):
        vectors_of(disguised, "x")


def test_sparse_vectors_are_those_of_the_model() -> None:
    model = sparse_encoder(TEXTS)
    vectors = SparseVectors(model, "s", batch_size=2)
    expected = model.encode_document(TEXTS, convert_to_sparse_tensor=False, convert_to_tensor=True)
    np.testing.assert_array_equal(vectors.documents(TEXTS).toarray(), expected.numpy())
    model.similarity_fn_name = "cosine"
    lengths = np.asarray(vectors.documents(TEXTS).power(2).sum(axis=1)).ravel()
    assert lengths == pytest.approx(1)
    model.similarity_fn_name = "euclidean"
    with pytest.raises(UltraError, match="compares vectors by euclidean"):
        SparseVectors(model, "s")


def test_queries_take_their_own_route() -> None:
    vectors = SparseVectors(sparse_encoder(TEXTS, route=True), "s")
    assert set(vectors.queries(TEXTS).data) == {1.0}
    assert vectors.documents(["garaje"]).data.tolist() == [6.0]
    assert vectors.similarities(["la garaje"], ["garaje puerta"]).tolist() == [6.0]


def test_similarities_are_those_of_the_model() -> None:
    model = dense_encoder(TEXTS)
    first, second = TEXTS, TEXTS[::-1]
    expected = model.similarity_pairwise(model.encode(first), model.encode(second))
    assert DenseVectors(model, "d").similarities(first, second) == pytest.approx(expected.numpy())
    sparse = sparse_encoder(TEXTS)
    assert SparseVectors(sparse, "s").similarities(["la luz"], ["la luz luz"]).tolist() == [4.0 + 9.0]


def test_the_sparsity_by_hand() -> None:
    from scipy.sparse import csr_matrix

    queries = csr_matrix(np.array([[1.0, 0, 0, 0], [1, 0, 2, 0]]))
    documents = csr_matrix(np.array([[2.0, 1, 0, 0], [0, 0, 0, 0], [4, 0, 0, 3]]))
    found = sparsity_of(queries, documents)
    assert (found.queries.mean, found.queries.most, found.queries.zeros) == (1.5, 2, 1 - 3 / 8)
    assert (found.documents.empty, found.documents.used) == (1, 3)
    assert found.documents.flops == pytest.approx(2**2 + (1 / 3) ** 2 + 1)
    assert found.multiplications == pytest.approx(1 * 2 / 3)
    assert found.documents.frequent[0] == ("#0", pytest.approx(2 / 3))


def test_dimensions_have_the_names_of_their_tokens() -> None:
    model = sparse_encoder(TEXTS)
    vectors = SparseVectors(model, "s")
    rows = vectors.documents(TEXTS)
    assert sparsity_of(rows, rows, vectors.tokenizer).documents.frequent[0] == ("la", pytest.approx(2 / 3))
    assert sparsity_of(rows, rows).documents.frequent[0][0].startswith("#")
