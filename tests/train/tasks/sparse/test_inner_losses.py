"""Names of ranking losses."""

import pytest
from sentence_transformers.sparse_encoder import losses

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
