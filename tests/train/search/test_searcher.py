import pytest

from support.given_vectors import Dense, Sparse
from ultra_train.search.errors import SearchError
from ultra_train.search.searcher import Searcher

ENCODERS = {"dense": Dense(), "sparse": Sparse()}


@pytest.fixture(scope="module")
def searcher(index):
    return Searcher(index, ENCODERS)


def test_a_single_retriever_ranks_by_its_own_scores(searcher, index):
    hits = searcher.search("la luz del jardín", 2, "bm25")
    assert [(hit.id, hit.score) for hit in hits] == index.nearest("bm25", "la luz del jardín", 2)
    assert [hit.rank for hit in hits] == [1, 2]
    assert (hits[0].title, hits[0].snippet, hits[0].places) == ("Luz", "enciende la luz del jardín", {})


def test_hybrid_search_fuses_reciprocal_ranks_of_all_retrievers(searcher, index):
    query = "enciende la luz"
    hits = searcher.search(query, 3)
    rankings = {
        "dense": index.nearest("dense", ENCODERS["dense"](query), 100),
        "sparse": index.nearest("sparse", ENCODERS["sparse"](query), 100),
        "bm25": index.nearest("bm25", query, 100),
    }
    for hit in hits:
        ranks = {
            name: [found for found, _ in ranking].index(hit.id) + 1
            for name, ranking in rankings.items()
            if hit.id in dict(ranking)
        }
        assert {name: place.rank for name, place in hit.places.items()} == ranks
        assert hit.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks.values()))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_weights_choose_the_retrievers_and_their_shares(searcher, index):
    only = searcher.search("la puerta", 4, weights={"bm25": 1.0, "sparse": 0.0})
    assert only[0].id == index.nearest("bm25", "la puerta", 1)[0][0]
    assert only[0].score == pytest.approx(1.0)
    assert set(only[0].places) == {"bm25", "sparse"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "the query is empty"),
        ({"query": "x", "k": 0}, "k is 0, but it must be from 1 to 16,384"),
        ({"query": "x", "k": 16_385}, "k is 16,385, but it must be from 1 to 16,384, the limit of Milvus"),
    ],
)
def test_impossible_searches_are_refused(arguments, message, searcher):
    with pytest.raises(SearchError, match=message):
        searcher.search(**arguments)
