from importlib import import_module
from inspect import signature

import pytest

from ultra_train.data.pairs.kinds import KINDS
from ultra_train.tasks.embeddings.loss_names import DENSE_DEFAULTS, DENSE_LOSSES, loss_faults


@pytest.mark.parametrize("name", DENSE_LOSSES)
def test_the_library_has_the_loss_with_these_options(name):
    module, _, cls = DENSE_LOSSES[name].target.partition(":")
    known = signature(getattr(import_module(module), cls)).parameters
    assert set(DENSE_LOSSES[name].options) <= set(known)


def test_every_kind_of_data_has_a_loss():
    assert DENSE_DEFAULTS.keys() == KINDS.keys()
    for kind, name in DENSE_DEFAULTS.items():
        assert list(loss_faults(name, kind, ("loss",))) == []


@pytest.mark.parametrize(
    ("spec", "kind", "path", "words"),
    [
        ("cosnt", "paired_similarity", ("loss",), "Did you mean 'cosent' or"),
        ("triplet", "pairs", ("loss",), "is for triplets, not for pairs; for pairs there are"),
        ({"triplet": {"margin": 1}}, "triplets", ("loss", "triplet", "margin"), "'triplet_margin'"),
        ({"cosent": {"scale": -1.0}}, "paired_similarity", ("loss", "cosent", "scale"), "a number > 0"),
        ({"cosine": {"scale": 1.0}}, "paired_similarity", ("loss", "cosine", "scale"), "Its options: none"),
        ({"cosent": {}, "angle": {}}, "paired_similarity", ("loss",), "expected NAME or"),
    ],
)
def test_faults(spec, kind, path, words):
    ((where, message),) = loss_faults(spec, kind, ("loss",))
    assert where == path
    assert words in message
