from __future__ import annotations

from ultra_train.trainer.checkpoints.folders import UNFINISHED, list_checkpoints
from ultra_train.trainer.checkpoints.removal import set_aside
from ultra_train.trainer.checkpoints.retention import RetentionPolicy, rotate_checkpoints


def test_leftovers_of_a_killed_writer_go_and_nothing_else(put, tmp_path):
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


def test_what_others_put_into_a_checkpoint_stays(put, tmp_path):
    keeping = RetentionPolicy(newest=1)
    notes = put(tmp_path, 1).path / "notes.txt"
    notes.write_text("the one I liked")
    put(tmp_path, 2)
    rotate_checkpoints(tmp_path, keeping)
    assert (tmp_path / "left-of-checkpoint-1" / "notes.txt").read_text() == "the one I liked"
    assert [p.name for p in (tmp_path / "left-of-checkpoint-1").iterdir()] == ["notes.txt"]
    assert [c.step for c in list_checkpoints(tmp_path)] == [2]


def test_a_folder_without_a_manifest_is_not_removed(put, tmp_path):
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
