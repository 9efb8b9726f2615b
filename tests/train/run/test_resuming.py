"""How a run goes on: what has changed since it began, and the command."""

import sys
from pathlib import Path

import pytest

from ultra_train.run.resuming import changed_keys, resume_command, start_point
from ultra_train.system.processes import Processes


def test_changed_keys_are_dotted():
    before = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "gone": 0}
    now = {"a": 1, "b": {"c": 5, "d": {"e": 4}}, "new": None, "list": [1]}
    assert changed_keys(before, now) == ["b.c", "b.d.e", "gone", "list"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["ultra-train", "run", "my preset", "--resume"], "ultra-train run 'my preset' --name x --resume"),
        (
            ["ultra-train", "train", "--config", "p", "--name", "x"],
            "ultra-train train --config p --name x --resume",
        ),
        (["pytest", "run", "p"], "ultra-train run runs/x/config.yaml --name x --resume"),
    ],
)
def test_the_command_is_the_given_one_or_names_the_recorded_preset(monkeypatch, given, expected):
    monkeypatch.setattr(sys, "argv", given)
    assert resume_command(Path("runs/x"), Processes()) == expected


def test_a_folder_of_runs_elsewhere_is_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ultra-train", "run", "p"])
    command = resume_command(Path("/data/x"), Processes())
    assert command == "ultra-train run p --name x --output-dir /data --resume"


@pytest.mark.parametrize(("hosts", "said"), [(1, "torchrun "), (2, "torchrun ... ")])
def test_several_processes_are_started_with_torchrun(monkeypatch, hosts, said):
    monkeypatch.setattr(sys, "argv", ["/lib/ultra_train/__main__.py", "run", "p"])
    command = resume_command(Path("runs/x"), Processes(0, 2 * hosts, 0, 2))
    assert command == f"{said}--nproc-per-node 2 -m ultra_train run p --name x --resume"


def test_without_a_checkpoint_a_run_starts_from_its_beginning(tmp_path):
    said = []
    assert start_point(tmp_path, None, said.append) is None
    assert said == ["no checkpoint was saved yet: the run starts again from its beginning"]
