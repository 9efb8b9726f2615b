from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import torch

from ultra_train.trainer.checkpoints.folders import (
    UNFINISHED,
    CheckpointError,
    RetentionPolicy,
    checksum,
    list_checkpoints,
    make_room,
    newest_intact,
    rotate_checkpoints,
    set_aside,
    write_checkpoint,
)
from ultra_train.trainer.checkpoints.state_files import (
    load_state,
    random_state,
    restore_random_state,
    save_state,
)


def put(root, step, text="weights", **metrics):
    return write_checkpoint(
        root, step, lambda folder: (folder / "data").write_text(text), {"metrics": metrics}
    )


def test_what_is_written_is_whole_and_every_kind_of_damage_is_found(tmp_path):
    checkpoint = put(tmp_path, 3)
    assert checkpoint.damage() is None
    assert checkpoint.manifest["step"] == 3
    path = checkpoint.path / "data"
    path.write_text("weightz")
    assert "checksum" in checkpoint.damage()
    path.write_text("weight")
    assert "6 bytes, 7 were written" in checkpoint.damage()
    path.unlink()
    assert "missing" in checkpoint.damage()
    (checkpoint.path / "manifest.json").write_text("{")
    assert "manifest" in checkpoint.damage()


def test_the_newest_whole_one_is_taken(tmp_path):
    for step in (5, 10, 100):
        put(tmp_path, step)
    (tmp_path / "checkpoint-200").mkdir()
    (tmp_path / "checkpoint-100" / "data").write_text("?")
    warnings = []
    assert newest_intact(tmp_path, warnings.append).step == 10
    assert ["checkpoint-200" in warnings[0], "checkpoint-100" in warnings[1]] == [True, True]
    set_aside(tmp_path, newer_than=10)
    assert [c.step for c in list_checkpoints(tmp_path)] == [10, 5]
    assert (tmp_path / "unused-checkpoint-100").is_dir()
    assert newest_intact(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left"), OSError(errno.EDQUOT, "quota"), RuntimeError("os error 28")],
)
def test_a_full_disk_leaves_the_older_one_and_nothing_else(tmp_path, error):
    put(tmp_path, 1)

    def fill(folder):
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(CheckpointError, match=r"disk is full.*checkpoint-1 with --resume"):
        write_checkpoint(tmp_path, 2, fill, {})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_really_full_disk(tmp_path):
    """A file-size limit stands in for a quota; it needs no rights."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(CheckpointError, match="disk is full"):
            write_checkpoint(tmp_path, 2, lambda f: save_state(f / "state", {"w": torch.zeros(100_000)}), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


def test_other_errors_pass_and_clean_up(tmp_path):
    def fill(folder):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_checkpoint(tmp_path, 2, fill, {})
    assert not list(tmp_path.iterdir())


def test_rotation_keeps_the_newest_and_the_best(tmp_path):
    keeping = RetentionPolicy(newest=2, best=2, metric="loss")
    for step, loss in enumerate([5.0, 1.0, float("nan"), 2.0, 3.0, 4.0, 1.0], start=1):
        assert keeping.would_rank(loss, list_checkpoints(tmp_path)) == (step in (1, 2, 4, 7)), step
        put(tmp_path, step, loss=loss)
        rotate_checkpoints(tmp_path, keeping)
    # the newest two, and the best two; of equal ones the newer
    assert [c.step for c in list_checkpoints(tmp_path)] == [7, 6, 2]


def test_greater_may_be_better(tmp_path):
    keeping = RetentionPolicy(newest=1, best=1, metric="accuracy", greater_is_better=True)
    for step, accuracy in enumerate([0.1, 0.9, 0.5, 0.2], start=1):
        put(tmp_path, step, accuracy=accuracy)
    rotate_checkpoints(tmp_path, keeping)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 2]


def test_room_is_made_by_old_ones_but_never_by_the_best_or_the_newest(tmp_path):
    keeping = RetentionPolicy(newest=3, best=1, metric="loss")
    for step, loss in ((1, 9.0), (2, 1.0), (3, 9.0), (4, 9.0)):
        put(tmp_path, step, "x" * 10_000, loss=loss)
    make_room(tmp_path, 10_000, keeping, budget=45_000, used=tmp_path)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 3, 2]
    make_room(tmp_path, 10_000, keeping, budget=32_000, used=tmp_path)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 2]
    with pytest.raises(CheckpointError, match="storage_budget_gb"):
        make_room(tmp_path, 10_000, keeping, budget=29_000, used=tmp_path)
    with pytest.raises(CheckpointError, match="free on the disk"):
        make_room(tmp_path, 10**18, keeping)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 2]


def test_leftovers_of_a_killed_writer_go_and_nothing_else(tmp_path):
    (tmp_path / ".writing-9-1").mkdir()
    marked, mine = tmp_path / ".writing-9-2", tmp_path / ".writing-notes"
    for folder in (marked, mine):
        folder.mkdir()
        (folder / "half").touch()
    (marked / UNFINISHED).touch()
    removing = put(tmp_path, 8).path.rename(tmp_path / ".removing-8-3")
    (removing / "data").unlink()
    put(tmp_path, 10)
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint-10", ".writing-notes"}
    assert (mine / "half").exists()


def test_what_others_put_into_a_checkpoint_stays(tmp_path):
    keeping = RetentionPolicy(newest=1)
    notes = put(tmp_path, 1).path / "notes.txt"
    notes.write_text("the one I liked")
    put(tmp_path, 2)
    rotate_checkpoints(tmp_path, keeping)
    assert (tmp_path / "left-of-checkpoint-1" / "notes.txt").read_text() == "the one I liked"
    assert [p.name for p in (tmp_path / "left-of-checkpoint-1").iterdir()] == ["notes.txt"]
    assert [c.step for c in list_checkpoints(tmp_path)] == [2]


def test_a_folder_without_a_manifest_is_not_removed(tmp_path):
    for step in (1, 5):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "pytorch_model.bin").write_text("of somebody else")
    put(tmp_path, 2)
    put(tmp_path, 3)
    rotate_checkpoints(tmp_path, RetentionPolicy(newest=1))
    assert [c.step for c in list_checkpoints(tmp_path)] == [5, 3, 1]
    put(tmp_path, 5)  # in its place, which is needed
    assert (tmp_path / "unused-checkpoint-5" / "pytorch_model.bin").read_text() == "of somebody else"
    (tmp_path / "checkpoint-5" / "data").write_text("damaged")
    set_aside(tmp_path, newer_than=3)
    assert (tmp_path / "unused-checkpoint-5" / "pytorch_model.bin").exists()
    assert (tmp_path / "unused-checkpoint-5.1" / "data").read_text() == "damaged"


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "", "."])
def test_a_manifest_never_leads_out_of_its_folder(tmp_path, name):
    (tmp_path / "outside").write_text("mine")
    root = tmp_path / "checkpoints"
    checkpoint, target = put(root, 1), str(tmp_path) + name if name.startswith("/") else name
    manifest = checkpoint.manifest
    manifest["files"][target] = {"bytes": 4, "sha256": checksum(tmp_path / "outside")}
    (checkpoint.path / "manifest.json").write_text(json.dumps(manifest))
    assert "is not the name of a file in it" in checkpoint.damage()
    put(root, 2)
    rotate_checkpoints(root, RetentionPolicy(newest=1))
    assert (tmp_path / "outside").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["checkpoint-²", "checkpoint-٣", "checkpoint-007", "checkpoint--1", "checkpoint-"]
)
def test_only_names_that_are_written_are_read(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-4").write_text("a file")
    put(tmp_path, 3)
    assert [c.step for c in list_checkpoints(tmp_path)] == [3]


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
