"""Names of ranking losses."""

from inspect import signature
from types import SimpleNamespace

import pytest
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.sparse_encoder import losses
from torch import nn

from ultra_train.tasks.sparse.csr_run import CsrRun
from ultra_train.tasks.sparse.inner_losses import INNER_LOSSES, find_inner_loss


@pytest.mark.parametrize(
    "name",
    [
        None,
        "sparse_multiple_negatives_ranking",
        "SparseMultipleNegativesRankingLoss",
        "sparse_multiple_negatives_ranking_loss",
        "multiple_negatives_ranking",
        "mnrl",
        "sparse_mnrl",
    ],
)
def test_multiple_negatives_by_its_names(name):
    assert find_inner_loss(name).name == "sparse_multiple_negatives_ranking"


def test_every_loss_is_one_of_the_library_and_found_by_its_class():
    for name, loss in INNER_LOSSES.items():
        assert hasattr(getattr(losses, loss.class_name), "compute_loss_from_embeddings")
        assert find_inner_loss(loss.class_name).name == name
        assert find_inner_loss(name.removeprefix("sparse_")).name == name


def test_others_are_refused(problems, sparse):
    (fault,) = problems(sparse, "loss.inner_loss=sparse_margin_msee")
    assert fault.key == "loss.inner_loss"
    assert "Did you mean" in fault.message


def test_a_factor_reaches_losses_that_have_one(problems, sparse):
    found = find_inner_loss(None)
    assert found.build(None, 5.0).scale == 5.0
    assert found.build(None).scale == 1.0
    for name, loss in INNER_LOSSES.items():
        (*fault,) = problems(sparse, f"loss.inner_loss={name}", "loss.inner_loss_scale=5.0")
        refused = [one for one in fault if one.key == "loss.inner_loss_scale"]
        assert bool(refused) == (not loss.scaled), name
        assert ("scale" in signature(getattr(losses, loss.class_name)).parameters) == loss.scaled


def test_codes_of_normalised_vectors_have_a_factor_of_their_own():
    """Between vectors of length 1, similarities of at most 1 cannot rank anything without it."""
    loss = SimpleNamespace(inner_loss=None, inner_loss_scale=None)
    run = CsrRun.__new__(CsrRun)
    run.options = SimpleNamespace(loss=loss)
    normalised, plain = nn.Sequential(Normalize()), nn.Sequential(nn.Identity())
    assert run.scale(normalised) == 20.0
    assert run.scale(plain) is None
    loss.inner_loss_scale = 2.0
    assert run.scale(normalised) == 2.0
