"""From keys of a preset to the arguments of the trainer."""

import attrs
import pytest
import torch
from transformers import TrainingArguments

from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.run.arguments import training_arguments
from ultra_train.run.device import devices_to_switch_to, has_tf32, idle_keys, pick_device, pick_precision
from ultra_train.system.processes import Processes

ALONE = Processes()


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
    given = {}

    class Arguments(TrainingArguments):
        def __init__(self, **options):
            given.update(options)
            super().__init__(**options | {"use_cpu": True, "tf32": None, "bf16": False, "fp16": False})

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P40")
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert has_tf32(gpu) == there
    training = attrs.evolve(load_preset("tinybert").training, tf32=True)
    assert list(idle_keys(training, gpu, ALONE)) == (
        [] if there else ["training.tf32 has no effect: Tesla P40 (cuda) has no TF32"]
    )
    assert "has no TF32" in next(idle_keys(training, cpu, ALONE))
    for device, expected in ((gpu, True if there else None), (cpu, None)):
        training_arguments(
            training, device=device, folder=tmp_path, max_steps=1, evaluates=False, kind=Arguments
        )
        assert given["tf32"] is expected


def test_recomputed_activations_are_those_of_the_forward_pass(tmp_path):
    training = attrs.evolve(load_preset("tinybert").training, activation_checkpointing=True)
    made = training_arguments(
        training, device=torch.device("cpu"), folder=tmp_path, max_steps=1, evaluates=False
    )
    given = next(n for n in ("activation", "gradient") if hasattr(made, f"{n}_checkpointing_kwargs"))
    assert getattr(made, f"{given}_checkpointing")
    assert getattr(made, f"{given}_checkpointing_kwargs") == {"use_reentrant": False}


@pytest.mark.parametrize(
    ("device", "gpus", "here", "others", "why"),
    [
        ("cuda:1", 3, ALONE, ["cuda:0", "cuda:2"], None),
        ("cuda", 2, ALONE, ["cuda:1"], None),
        ("cuda:0", 1, ALONE, [], "there is no other GPU"),
        ("cpu", 0, ALONE, [], "there is no other GPU"),
        ("cuda:0", 2, Processes(0, 2, 0, 2), [], "every process has a GPU of its own"),
    ],
)
def test_where_a_hot_run_may_go_on(monkeypatch, device, gpus, here, others, why):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    training = attrs.evolve(load_preset("tinybert").training, switch_on_thermal=True)
    assert [str(d) for d in devices_to_switch_to(training, torch.device(device), here)] == others
    notices = list(idle_keys(training, torch.device(device), here))
    assert len(notices) == (why is not None)
    assert all(why in notice for notice in notices)


def test_it_trains_on_the_gpu_that_was_chosen(monkeypatch, tmp_path):
    """Transformers takes the first one whatever the current device is."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    second, training = torch.device("cuda", 1), load_preset("tinybert").training
    made = training_arguments(training, device=second, folder=tmp_path, max_steps=1, evaluates=False)
    assert made.device == second
    assert chosen[-1] == second


@pytest.mark.parametrize(
    ("wanted", "gpus", "found"),
    [
        (None, 4, "cuda:2"),
        ("cuda", 4, "cuda:2"),
        (None, 2, "this machine has 2 GPUs for 4 processes"),
        ("cuda", 0, "device 'cuda' is not on this machine; it has: cpu"),
        ("cuda:0", 4, "--device cuda:0 is one device, and this run has 4 processes"),
        (None, 0, "cpu"),
        ("cpu", 4, "cpu"),
    ],
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch, wanted, gpus, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    try:
        answer = str(pick_device(wanted, Processes(2, 4, 2, 4)))
    except UltraError as error:
        answer = str(error)
    assert answer.startswith(found)
