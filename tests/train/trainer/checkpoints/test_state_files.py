from __future__ import annotations

import numpy as np
import pytest
import torch

from ultra_train.trainer.checkpoints.folders import CheckpointError
from ultra_train.trainer.checkpoints.state_files import load_state, save_state


def test_a_tree_comes_back_exactly(tmp_path):
    tree = {
        "state": {
            0: {
                "step": torch.tensor(3.0),
                "m": torch.randn(3, 4).t(),
                "b": torch.ones(2, dtype=torch.bfloat16),
            }
        },
        "groups": [{"lr": 1 / 3, "betas": (0.9, float("inf")), "name": None, "on": True, "empty": []}],
        "shared": (shared := torch.arange(4)),
        "again": shared[1:],
    }
    save_state(tmp_path / "tree", tree)
    back = load_state(tmp_path / "tree")
    assert back["groups"] == tree["groups"]
    assert isinstance(back["groups"][0]["betas"], tuple)
    assert back["state"].keys() == {0}
    for name, tensor in tree["state"][0].items():
        assert back["state"][0][name].dtype == tensor.dtype
        assert torch.equal(back["state"][0][name], tensor)
    assert torch.equal(back["again"], shared[1:])


@pytest.mark.parametrize("bad", [object(), np.float64(1.0), {1.5: 2}])
def test_what_is_neither_tensor_nor_plain_is_refused(tmp_path, bad):
    with pytest.raises(CheckpointError, match=r"state\['x'\]"):
        save_state(tmp_path / "state", {"x": bad})
