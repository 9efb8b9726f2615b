from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn

from ultra_train.run.facts import RunFacts, command_line


def begin(facts, step=0):
    model = nn.Linear(3, 2)
    model.bias.requires_grad = False
    facts.begin(step=step, model=model, device=torch.device("cpu"), precision="fp32")


def test_a_resumed_run_has_a_part_for_each_time_that_it_was_started(tmp_path):
    begin(RunFacts(tmp_path))  # its process is killed
    facts = RunFacts(tmp_path)
    begin(facts, step=4)
    facts.end(step=12, outcome="finished", tokens=100, seconds=2.0)
    recorded = json.loads((tmp_path / "run.json").read_text())
    assert [(part["step"], part.get("outcome")) for part in recorded["parts"]] == [(0, None), (4, "finished")]
    assert (recorded["parameters"], recorded["trainable_parameters"]) == (8, 6)
    assert recorded["parts"][1]["machine"]["cores"] >= 1


def test_a_part_that_never_began_has_no_end(tmp_path):
    begin(RunFacts(tmp_path))
    before = (tmp_path / "run.json").read_text()
    RunFacts(tmp_path).end(step=3, outcome="finished", tokens=1, seconds=1.0)
    assert (tmp_path / "run.json").read_text() == before


@pytest.mark.parametrize("damage", ["", "[1]", '{"parts": 3}'])
def test_a_damaged_record_is_begun_anew(tmp_path, damage):
    (tmp_path / "run.json").write_text(damage)
    begin(RunFacts(tmp_path))
    assert len(json.loads((tmp_path / "run.json").read_text())["parts"]) == 1


def test_commands_are_recorded_without_secrets(monkeypatch):
    words = ["/bin/ultra-train", "run", "a b.yaml", "--set", "training.hub_token=hf_abc", "tokenizer.name=x"]
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == "ultra-train run 'a b.yaml' --set 'training.hub_token=***' tokenizer.name=x"
    monkeypatch.setattr(sys, "argv", ["/lib/ultra_train/__main__.py", "run"])
    assert command_line() == "python -m ultra_train run"
