import re

import datasets
import pytest

from ultra_train.data.errors import DataError
from ultra_train.tasks.embeddings.steps import (
    HardNegativesKeys,
    Steps,
    TeacherKeys,
    missing_step_models,
    step_faults,
)

MINED = HardNegativesKeys(model="owner/encoder", per_query=3, range_min=2)
TEACHER = TeacherKeys(model="owner/ranker")


@pytest.mark.parametrize(
    ("kind", "loss", "mined", "teacher", "key", "message"),
    [
        ("triplets", "triplet", MINED, None, "hard_negatives", "mined for pairs, qa, not for triplets"),
        ("qa", "multiple_negatives", None, TEACHER, "teacher", "the loss multiple_negatives reads no scores"),
        ("triplets", "margin_mse", None, None, "teacher", "learns from the scores of a teacher"),
        (
            "qa",
            "multiple_negatives",
            HardNegativesKeys(model="m", per_query=3, range_min=2, range_max=4),
            None,
            "range_max",
            r"fewer than per_query \(3\) texts from range_min \(2\) to range_max \(4\)",
        ),
    ],
)
def test_steps_that_do_not_fit_are_faults(kind, loss, mined, teacher, key, message):
    (fault,) = step_faults(kind, loss, mined, teacher, ("training", "sbert"))
    assert fault[0][-1] == key
    assert re.search(message, fault[1])


def test_steps_that_fit_are_none():
    for kind, loss, mined, teacher in (
        ("qa", "distill_kl", MINED, TEACHER),
        ("pairs", "sparse_margin_mse", MINED, TEACHER),
        ("triplets", "margin_mse", None, TEACHER),
        ("paired_similarity", "cosent", None, TEACHER),
        ("pairs", "multiple_negatives", MINED, None),
        ("nli", "softmax", None, None),
    ):
        assert list(step_faults(kind, loss, mined, teacher, ())) == []


def test_models_that_can_only_be_here_are_looked_for(tmp_path):
    here = HardNegativesKeys(model=str(tmp_path))
    gone = TeacherKeys(model=str(tmp_path / "gone"))
    ((path, message),) = missing_step_models(here, gone, ("training", "sbert"))
    assert path == ("training", "sbert", "teacher", "model")
    assert "there is no file or folder" in message


def test_a_loss_that_compares_documents_needs_several(tmp_path):
    steps = Steps(
        name="questions",
        hard_negatives=None,
        teacher=TEACHER,
        cache_dir=str(tmp_path),
        seed=0,
        trust_remote_code=False,
        say=print,
    )
    rows = datasets.Dataset.from_list([{"query": "a", "document": "b"}])
    with pytest.raises(DataError, match="questions: the loss margin_mse compares the documents of a row"):
        steps(rows, "margin_mse")
