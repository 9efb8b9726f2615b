from __future__ import annotations

import json

import pytest

from ultra_train.system.checksums import checksum
from ultra_train.trainer.checkpoints.folders import list_checkpoints, newest_intact
from ultra_train.trainer.checkpoints.removal import set_aside
from ultra_train.trainer.checkpoints.retention import RetentionPolicy, rotate_checkpoints


def test_what_is_written_is_whole_and_every_kind_of_damage_is_found(put, tmp_path):
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


def test_the_newest_whole_one_is_taken(put, tmp_path):
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


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "", "."])
def test_a_manifest_never_leads_out_of_its_folder(put, tmp_path, name):
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
def test_only_names_that_are_written_are_read(put, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-4").write_text("a file")
    put(tmp_path, 3)
    assert [c.step for c in list_checkpoints(tmp_path)] == [3]
