from __future__ import annotations

import math

import pytest

from ultra_train.trainer.guards import Guard


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        (1.0, 5.0, None),
        (math.nan, 5.0, "the loss is nan"),
        (math.inf, 5.0, "the loss is inf"),
        (1.0, math.nan, "the gradient norm is nan"),
        (1.0, 11.0, "above inf_post_clip_threshold 10"),
        (1.0, 10.0, None),
    ],
)
def test_objections(loss, norm, said):
    objection = Guard(threshold=10.0).objection(loss, norm)
    assert objection is None if said is None else said in objection
