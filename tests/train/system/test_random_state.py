from __future__ import annotations

import json
import os

import numpy as np
import torch

from ultra_train.system.random_state import random_state, restore_random_state
from ultra_train.trainer.checkpoints.state_files import load_state, save_state


def test_every_generator_comes_back(tmp_path):
    import random

    save_state(tmp_path / "random", [random_state()])
    first = (random.random(), np.random.rand(), torch.rand(3))
    restore_random_state(load_state(tmp_path / "random")[0])
    again = (random.random(), np.random.rand(), torch.rand(3))
    assert first[:2] == again[:2]
    assert torch.equal(first[2], again[2])
    assert json.loads((tmp_path / "random.json").read_text())
    assert os.path.getsize(tmp_path / "random.safetensors") > 5000


def test_every_device_has_a_generator_of_its_own(monkeypatch):
    states = [torch.tensor([1, 2]), torch.tensor([3, 4])]
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "get_rng_state_all", lambda: [state.clone() for state in states])
    monkeypatch.setattr(torch.xpu, "set_rng_state", lambda state, index: states[index].copy_(state))
    before = random_state()
    assert [state.tolist() for state in before["xpu"]] == [[1, 2], [3, 4]]
    states[0].zero_(), states[1].zero_()
    restore_random_state({**before, "xpu": before["xpu"][:1]})  # of a machine with another number of them
    assert [state.tolist() for state in states] == [[0, 0], [0, 0]]
    restore_random_state(before)
    assert [state.tolist() for state in states] == [[1, 2], [3, 4]]
