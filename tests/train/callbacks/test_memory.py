from __future__ import annotations

from types import SimpleNamespace

import torch

from ultra_train.callbacks.memory import MemoryCallback


def test_memory_is_measured_for_lines_of_the_log_only():
    metrics = {}
    callback = MemoryCallback(metrics, torch.device("cpu"))
    callback.on_step_end(None, None, SimpleNamespace(should_log=False))
    assert metrics == {}
    callback.on_step_end(None, None, SimpleNamespace(should_log=True))
    assert metrics.keys() == {"memory_gb"}
    assert 0.01 < metrics["memory_gb"] < 1000
