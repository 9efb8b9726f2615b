from __future__ import annotations

import shutil

import pytest

from support.local_hub import local_hub
from ultra_core.errors import UltraError
from ultra_train.cli.app import main
from ultra_train.config import load_preset
from ultra_train.hub import background
from ultra_train.run import pushing
from ultra_train.run.pushing import check_token, find_pushed, model_of, push_command, repository_of


def test_a_push_that_fails_changes_nothing_about_the_run(
    run_tiny, finished_run, tmp_path, monkeypatch, capsys
):
    """No token: the run says so before and after the training, and ends as it would have."""
    monkeypatch.setattr(pushing, "has_token", lambda: False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "tiny"
    shutil.copytree(finished_run, folder)
    before = (folder / "model" / "model.safetensors").read_bytes()
    assert run_tiny(tmp_path, "training.push_to_hub=true", "training.hub_model_id=a/b", resume=True) == folder
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert any(
        line.startswith("notice: training.push_to_hub is set, but there is no token") for line in lines
    )
    assert lines[-1].startswith("not pushed to a/b: there is no token for the hub")
    assert lines[-1].endswith(f"push it with: ultra-train push {folder} --repo a/b")
    assert (folder / "model" / "model.safetensors").read_bytes() == before


def test_the_command_pushes_the_model_of_a_run(finished_run, monkeypatch, capsys):
    with local_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_a")
        assert main(["push", str(finished_run)]) == 0
        assert {"README.md", "model.safetensors", "tokenizer.json"} <= set(hub.files)
        assert hub.files["README.md"] == (finished_run / "model" / "README.md").read_bytes()
        hub.faults = [401]
        named = [finished_run.name, "--output-dir", str(finished_run.parent)]
        assert main(["push", *named, "--repo", "other/name"]) == 2
    said = capsys.readouterr()
    assert f"pushed to {hub.address}/somebody/{finished_run.name}" in said.out
    assert f"pushing {finished_run / 'model'} to other/name" in said.out
    assert said.err.startswith("error: the hub refused the token (401")


def test_what_is_pushed_is_found_as_reports_find_runs(finished_run):
    runs, model = finished_run.parent, finished_run / "model"
    assert find_pushed(finished_run.name, runs) == find_pushed(str(finished_run), model) == finished_run
    assert find_pushed(str(model), runs) == model
    with pytest.raises(UltraError, match=rf"no run 'tinny'.*Did you mean '{finished_run.name}'"):
        find_pushed("tinny", runs)


def test_the_model_may_be_elsewhere(tmp_path, tiny_preset):
    with pytest.raises(UltraError, match="there is no finished model"):
        model_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert model_of(tmp_path) == tmp_path  # the folder of a model itself
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert model_of(tmp_path) == tmp_path / "model"
    assert repository_of(tmp_path) == tmp_path.name
    (tmp_path / "config.yaml").write_text(
        tiny_preset.read_text().replace("seed: 3", "seed: 3\n  hub_model_id: a/b")
    )
    assert repository_of(tmp_path) == "a/b"
    assert push_command(tmp_path / "a b") == f"ultra-train push '{tmp_path}/a b'"


def test_nothing_is_said_where_nothing_is_pushed(tiny_preset, tmp_path, monkeypatch):
    training = load_preset(tiny_preset).training
    monkeypatch.setattr(pushing, "has_token", pytest.fail)
    check_token(training, tmp_path, pytest.fail)
    with pushing.pushed(training, tmp_path, tmp_path, pytest.fail) as nothing:
        assert not isinstance(nothing, background.BackgroundPush)
