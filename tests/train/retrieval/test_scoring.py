from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from ultra_core.errors import UltraError
from ultra_train.retrieval.ranking import NONE, Ranking, best
from ultra_train.retrieval.scoring import InvertedIndex, dense_top_k

RANDOM = np.random.default_rng(5)


def by_sorting(scores: np.ndarray, k: int) -> np.ndarray:
    return np.lexsort((np.arange(len(scores)), -scores))[:k]


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_the_best_are_in_order_and_ties_by_number(k: int) -> None:
    scores = RANDOM.integers(0, 4, 30).astype(np.float32)
    np.testing.assert_array_equal(best(scores, k), by_sorting(scores, k))


def test_dense_scores_are_all_dot_products() -> None:
    queries, documents = RANDOM.integers(-2, 3, (7, 4)), RANDOM.integers(-2, 3, (50, 4))
    queries, documents = queries.astype(np.float32), documents.astype(np.float32)
    found = dense_top_k(queries, documents, 9, queries_at_once=3)
    for row, query in zip(found.documents, queries, strict=True):
        np.testing.assert_array_equal(row, by_sorting(documents @ query, 9))


def test_the_similarity_of_a_model_is_used() -> None:
    from sentence_transformers.util import cos_sim

    documents = np.array([[1, 0], [10, 10], [0, 1]], dtype=np.float32)
    query = np.array([[1, 0]], dtype=np.float32)
    assert dense_top_k(query, documents, 3).documents.tolist() == [[1, 0, 2]]
    assert dense_top_k(query, documents, 3, cos_sim).documents.tolist() == [[0, 1, 2]]


def test_sparse_scores_are_those_of_dense_vectors() -> None:
    documents = random_array((200, 60), density=0.1, rng=RANDOM, dtype=np.float32)
    queries = random_array((12, 60), density=0.08, rng=RANDOM, dtype=np.float32)
    documents.data, queries.data = np.ceil(documents.data * 3), np.ceil(queries.data * 3)  # exact, with ties
    index = InvertedIndex.of([csr_matrix(documents)[:90], csr_matrix(documents)[90:]])
    found = index.search(csr_matrix(queries), 25)
    assert len(index) == 200
    for number, scores in enumerate(queries.toarray() @ documents.toarray().T):
        expected = [document for document in by_sorting(scores, 25) if scores[document] > 0]
        numbers, values = found.row(number)
        assert numbers.tolist() == expected
        np.testing.assert_array_equal(values, scores[expected])
    sizes = 8 * documents.nnz + 4 * 61  # a weight and a number for each entry, a start for each dimension
    assert index.nbytes == sizes


def test_a_query_without_dimensions_finds_nothing() -> None:
    index = InvertedIndex(csr_matrix(np.eye(3, dtype=np.float32)))
    found = index.search(csr_matrix(np.array([[0, 0, 0], [0, 2, 0]], dtype=np.float32)), 2)
    assert found.documents.tolist() == [[NONE, NONE], [1, NONE]]


def test_vectors_that_are_no_numbers_are_refused() -> None:
    bad, good = np.array([[np.nan, 1]], dtype=np.float32), np.array([[0, 1]], dtype=np.float32)
    for queries, documents, name in ((bad, good, "queries"), (good, bad, "documents")):
        with pytest.raises(UltraError, match=f"vectors of the {name} hold NaN"):
            dense_top_k(queries, documents, 1)
        with pytest.raises(UltraError, match=f"vectors of the {name} hold NaN"):
            InvertedIndex(csr_matrix(documents)).search(csr_matrix(queries), 1)


def test_documents_taken_out_make_room_for_the_next() -> None:
    ranking = Ranking.of(
        [(np.array([4, 2, 7]), np.array([3.0, 2.0, 1.0])), (np.array([1]), np.array([1.0]))], 3
    )
    left = ranking.without([{2, 9}, set()])
    assert left.documents.tolist() == [[4, 7, NONE], [1, NONE, NONE]]
    assert left.scores[0, :2].tolist() == [3.0, 1.0]
