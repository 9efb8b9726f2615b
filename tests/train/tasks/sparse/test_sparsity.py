"""What the meter counts, and what is said about it."""

import pytest
import torch
from torch import nn

from ultra_train.tasks.sparse.alarm import Expected, alarms
from ultra_train.tasks.sparse.sparsity import MeteredLoss, SparsityMeter

QUERIES = torch.tensor([[1.0, 0, 0, 0], [1.0, 2, 0, 0]])
DOCUMENTS = torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 3.0]])
NEGATIVES = torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 0]])


def test_active_dimensions_and_products():
    meter = SparsityMeter()
    assert meter.read() == {}
    meter.add([QUERIES, DOCUMENTS, NEGATIVES])
    assert meter.dimensions == 4
    assert meter.read() == {
        "query_active_dims": 1.5,
        "document_active_dims": 1.0,
        "flops": pytest.approx(1.0 * 0.25 + 0.5 * 0.25),
    }
    meter.add([QUERIES, DOCUMENTS])
    assert meter.read()["document_active_dims"] == pytest.approx(8 / 6)
    meter.reset()
    assert meter.read() == {}


def test_training_and_evaluation_have_a_meter_each():
    class Sum(nn.Module):
        def compute_loss_from_embeddings(self, embeddings, labels=None):
            return sum(e.sum() for e in embeddings)

    training, evaluation = SparsityMeter(), SparsityMeter()
    loss = MeteredLoss(Sum(), training=training, evaluation=evaluation)
    assert loss.compute_loss_from_embeddings([QUERIES, DOCUMENTS]) == 10
    assert evaluation.read() == {}
    with torch.no_grad():
        loss.compute_loss_from_embeddings([QUERIES, NEGATIVES])
    assert training.read()["document_active_dims"] == 2.0
    assert evaluation.read()["document_active_dims"] == 0.0


def raised(step=50, **measured):
    expected = Expected(dimensions=1000, regularized_from=40)
    return dict(alarms({"query_active_dims": 5.0, "document_active_dims": 100.0} | measured, expected, step))


def test_a_sparse_representation_raises_no_alarm():
    assert raised() == {}
    assert raised(step=10, document_active_dims=900.0) == {}, "the regularisers have not acted yet"


def test_collapse_and_density_are_told_apart():
    (text,) = raised(document_active_dims=0.2).values()
    assert "loss.document_regularizer_weight" in text
    (text,) = raised(query_active_dims=0.0).values()
    assert "loss.query_regularizer_weight" in text
    assert list(raised(document_active_dims=251.0)) == ["dense_documents"]
    assert "251 of 1,000" in raised(document_active_dims=251.0)["dense_documents"]
