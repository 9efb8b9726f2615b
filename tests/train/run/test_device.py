"""From keys of a preset to the arguments of the trainer."""

import attrs
import pytest
import torch

from ultra_train.config import load_preset
from ultra_train.run.device import pick_precision


@pytest.mark.parametrize(
    ("use_amp", "precision", "device", "has_bf16", "expected"),
    [
        (False, None, "cpu", True, "fp32"),
        (True, None, "cpu", True, "bf16"),
        (True, None, "cuda", True, "bf16"),
        (True, None, "cuda", False, "fp16"),
        (True, "fp16", "cuda", True, "fp16"),
        (False, "bf16", "cpu", True, "bf16"),
    ],
)
def test_precision(monkeypatch, use_amp, precision, device, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bf16)
    training = attrs.evolve(load_preset("tinybert").training, use_amp=use_amp, precision=precision)
    assert pick_precision(training, torch.device(device)) == expected
