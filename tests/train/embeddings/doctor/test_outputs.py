from __future__ import annotations

import pytest
import torch

from ultra_train.embeddings.doctor.outputs import dense_space, head, sparse_space
from ultra_train.embeddings.heads import HeadReport

SPREAD = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("vectors", "collapsed", "crowded"),
    [
        (SPREAD, False, False),
        (SPREAD + 10, False, True),
        (torch.ones(50, 20), True, True),
        (SPREAD[:, :1] * torch.ones(20), True, False),
    ],
)
def test_collapse_and_anisotropy(vectors, collapsed, crowded):
    collapse, anisotropy = dense_space(vectors)
    assert (collapse.good, anisotropy.good) == (not collapsed, not crowded)
    assert "of 20 dimensions" in collapse.value


def sparse(*active, size=1000):
    vectors = torch.zeros(len(active), size)
    for row, columns in enumerate(active):
        vectors[row, list(columns)] = 1
    return vectors


@pytest.mark.parametrize(
    ("vectors", "advice"),
    [
        (sparse(range(10), range(10, 20)), "different from text to text"),
        (sparse(range(10), range(10, 20)).to_sparse(), "different from text to text"),
        (sparse(range(10), ()), "empty texts are never found"),
        (sparse(range(100), range(100, 200)), "hardly sparse"),
        (sparse(range(10), range(10)), "says nothing about the text"),
    ],
)
def test_sparsity(vectors, advice):
    finding = sparse_space("queries", vectors)
    assert advice in finding.advice
    assert finding.good == ("different" in advice)
    assert "of 1,000 active" in finding.value


def test_heads():
    assert head(HeadReport(0.3, 0.3, 12, 60)).good
    bounded = head(HeadReport(1.0, 0.3, 60, 60))
    assert not bounded.good
    assert "patch_sigmoid_for_sparsity" in bounded.advice
