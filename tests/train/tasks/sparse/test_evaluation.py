"""What measures a run, with and without the hub."""

import datasets
import pytest

from ultra_core.errors import UltraError
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.sparse import evaluation
from ultra_train.tasks.sparse.closing import sparsity_words
from ultra_train.tasks.sparse.evaluation import held_out_retrieval, pick_measure
from ultra_train.tasks.sparse.samples import sample_texts
from ultra_train.tasks.sparse.sections import SparseEvaluation


def test_the_hub_is_asked_for_nanobeir_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation, "require_hub", asked.extend)
    assert pick_measure(SparseEvaluation()) == ("nanobeir", None)
    assert [name.name for name in asked] == ["sentence-transformers/NanoBEIR-en"]
    for evaluator, measure in (("none", "none"), ("sparse_information_retrieval", "held_out")):
        assert pick_measure(SparseEvaluation(evaluator=evaluator)) == (measure, None)
    assert len(asked) == 1


def test_without_the_hub_held_out_texts_take_its_place(monkeypatch):
    def unreachable(wanted):
        raise UltraError("the hub cannot be reached (why), and this machine has no copy of it; do this")

    monkeypatch.setattr(evaluation, "require_hub", unreachable)
    measure, why = pick_measure(SparseEvaluation())
    assert measure == "held_out"
    assert "(the hub cannot be reached (why)); retrieval is measured among the held-out texts" in why
    assert "do this" not in why


def data_of(kind, *columns, rows=3):
    held_out = datasets.Dataset.from_dict({c: [f"{c} {i}" for i in range(rows)] for c in columns})
    one = PairSet(name="one", kind=kind, source="s", train=held_out, held_out=held_out)
    return PairData(sets=[one], batch_size=2, eval_batch_size=2, seed=1)


def test_every_document_of_the_held_out_rows_is_a_candidate():
    queries, corpus, relevant = evaluation._collection(
        data_of("triplets", "anchor", "positive", "negative").sets
    )
    assert set(queries) == {f"anchor {i}" for i in range(3)}
    assert len(corpus) == 6
    assert relevant["anchor 1"] == {"positive 1"}
    assert held_out_retrieval(data_of("qa", "query", "document"), 2) is not None
    assert held_out_retrieval(data_of("paired_similarity", "sentence1", "sentence2"), 2) is None


def test_samples_are_queries_and_documents_in_turns():
    texts = sample_texts(data_of("qa", "query", "document"), 3)
    assert texts == [("query", "query 0"), ("document", "document 0"), ("query", "query 1")]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({}, []),
        (
            {"eval_dot_ndcg@10": 0.5, "eval_query_active_dims": 7.25, "eval_document_active_dims": 1200.0},
            [
                "nDCG@10 on the held-out texts: 0.500",
                "Active dimensions of 30,000: queries 7.2, documents 1,200.0",
            ],
        ),
        ({"eval_NanoBEIR_mean_dot_ndcg@10": 0.25}, ["nDCG@10 on NanoBEIR: 0.250"]),
    ],
)
def test_what_a_run_says_at_its_end(metrics, words):
    assert list(sparsity_words(metrics, 30_000)) == words
