from __future__ import annotations

import errno
import shutil
from types import SimpleNamespace

import pytest

from ultra_train.run import checkpoint_pushes
from ultra_train.run.checkpoint_pushes import CheckpointPushes


class FakePush:
    """A push whose end the test decides."""

    started: list[FakePush]

    def __init__(self, folder, repository, message, *, private=None):
        self.folder, self.repository, self.message = folder, repository, message
        self.files = {path.name for path in folder.iterdir()}
        self.ended, self.killed, self.said = False, False, {"address": "https://hub/a/b"}
        self.started.append(self)

    def answer(self, timeout=None):
        return self.said

    def end(self):
        self.ended = self.killed = True


@pytest.fixture
def started(monkeypatch):
    monkeypatch.setattr(FakePush, "started", [], raising=False)
    monkeypatch.setattr(checkpoint_pushes, "PushProcess", FakePush)
    return FakePush.started


@pytest.fixture
def saved(finished_run, tmp_path, started):
    """Return pushes, a function that saves a checkpoint, and what is said."""
    (checkpoint, *_) = (finished_run / "checkpoints").glob("checkpoint-*")
    trainer = SimpleNamespace(state=SimpleNamespace(global_step=0), args=SimpleNamespace(max_steps=100))
    run, said = SimpleNamespace(path=tmp_path, trainer=trainer), []
    pushes = CheckpointPushes(run, "a/b", said.append)

    def save(step):
        trainer.state.global_step = step
        path = tmp_path / f"checkpoint-{step}"
        shutil.copytree(checkpoint, path)
        pushes.ultra_checkpoint_saved(run, path)
        return path

    return pushes, save, said


def test_the_model_of_a_checkpoint_is_pushed_without_the_state_of_the_training(saved, started):
    pushes, save, said = saved
    save(10)
    (push,) = started
    assert (push.repository, push.message) == ("a/b", "Update 10 of 100")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= push.files
    assert not any(name.startswith(("optimizer", "random", "schedule", "progress")) for name in push.files)
    assert not {"config.yaml", "manifest.json", "trainer_state.json"} & push.files
    push.ended = True
    pushes.end()
    assert not push.killed
    assert not push.folder.exists()
    assert not said


def test_a_checkpoint_that_is_removed_is_pushed_all_the_same(saved, started):
    _, save, _ = saved
    shutil.rmtree(save(10))
    assert (started[0].folder / "model.safetensors").stat().st_size


def test_one_push_at_a_time(saved, started):
    pushes, save, _ = saved
    save(10)
    save(20)
    assert len(started) == 1
    started[0].ended = True
    save(30)
    assert [push.message for push in started] == ["Update 10 of 100", "Update 30 of 100"]
    assert not started[0].folder.exists()
    pushes.end()
    assert started[1].killed
    assert not started[1].folder.exists()


def test_the_last_checkpoint_is_left_to_the_finished_model(saved, started):
    _, save, _ = saved
    save(100)
    assert not started


def test_a_failure_is_said_once_and_the_next_checkpoint_is_tried(saved, started, monkeypatch):
    pushes, save, said = saved
    for step in (10, 20):
        save(step)
        started[-1].ended, started[-1].said = True, {"error": "the hub answered 503."}

    def broken(*arguments, **options):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(checkpoint_pushes, "PushProcess", broken)
    save(30)
    pushes.end()
    first, second = said
    assert first == (
        "notice: the model of a checkpoint was not pushed to a/b: the hub answered 503. "
        "The next checkpoint is tried again"
    )
    assert "Cannot allocate memory" in second


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".push-1").mkdir()
    CheckpointPushes(SimpleNamespace(path=tmp_path), "a/b", print)
    assert not list(tmp_path.glob(".push-*"))


def test_a_run_pushes_its_checkpoints_if_its_preset_says_so(run_tiny, tmp_path, started, monkeypatch):
    monkeypatch.setattr("ultra_train.hub.background.PushProcess", FakePush)
    run = run_tiny(
        tmp_path, "training.push_to_hub=true", "training.max_steps=4", "training.checkpoint_every_n_steps=2"
    )
    checkpoint, finished = started
    assert (checkpoint.message, checkpoint.repository) == ("Update 2 of 4", run.name)
    assert checkpoint.killed
    assert finished.folder == run / "model"
    assert not list(run.glob(".push-*"))
