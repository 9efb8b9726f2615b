"""From keys of a preset to the arguments of the trainer."""

import attrs
import pytest
import torch

from ultra_train.config import load_preset
from ultra_train.run.arguments import training_arguments
from ultra_train.run.device import has_tf32, idle_keys, pick_precision


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


@pytest.mark.parametrize(("capability", "there"), [((8, 0), True), ((6, 1), False)])
def test_tf32_is_set_where_the_gpu_has_it_and_else_said_to_be_idle(monkeypatch, tmp_path, capability, there):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P40")
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert has_tf32(gpu) == there
    training = attrs.evolve(load_preset("tinybert").training, tf32=True)
    assert list(idle_keys(training, gpu)) == (
        [] if there else ["training.tf32 has no effect: Tesla P40 (cuda) has no TF32"]
    )
    assert "has no TF32" in next(idle_keys(training, cpu))
    assert (
        training_arguments(training, device=cpu, folder=tmp_path, max_steps=1, evaluates=False).tf32 is None
    )


def test_recomputed_activations_are_those_of_the_forward_pass(tmp_path):
    training = attrs.evolve(load_preset("tinybert").training, activation_checkpointing=True)
    made = training_arguments(
        training, device=torch.device("cpu"), folder=tmp_path, max_steps=1, evaluates=False
    )
    given = next(n for n in ("activation", "gradient") if hasattr(made, f"{n}_checkpointing_kwargs"))
    assert getattr(made, f"{given}_checkpointing")
    assert getattr(made, f"{given}_checkpointing_kwargs") == {"use_reentrant": False}
