"""Checkpoints whose content is wrong though their checksums agree: passed over or refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
from transformers import TrainerState

from support.damage import COPIES, damaged
from ultra_core.errors import UltraError
from ultra_train.system.checksums import checksum
from ultra_train.trainer.checkpoints.folders import list_checkpoints, newest_intact
from ultra_train.trainer.checkpoints.resume import resume_damage

READ = (
    "manifest.json",
    "progress.json",
    "trainer_state.json",
    "optimizer.json",
    "schedule.json",
    "random.json",
    "config.json",
)


@pytest.fixture(scope="module")
def keep(tmp_path_factory):
    """Checkpoints of two updates, made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trainer(make_trainer, keep):
    """A trainer whose checkpoints are those of updates 2 and 4."""
    made = make_trainer(max_steps=4, save_steps=2)
    if not list(keep.iterdir()):
        made.train()
        shutil.copytree(made.checkpoint_root, keep / "checkpoints")
    else:
        made.create_optimizer()
        made.create_scheduler(4)
        shutil.copytree(keep / "checkpoints", made.checkpoint_root, dirs_exist_ok=True)
    return made


def forge(checkpoint, name, content):
    """Write a file and make its checksum agree."""
    (checkpoint.path / name).write_bytes(content)
    if name != "manifest.json":
        manifest = json.loads((checkpoint.path / "manifest.json").read_text())
        facts = {"bytes": len(content), "sha256": checksum(checkpoint.path / name)}
        manifest["files"][name] = facts
        (checkpoint.path / "manifest.json").write_text(json.dumps(manifest))


def load(trainer, checkpoint):
    """Read all that a resumed run reads."""
    trainer._load_from_checkpoint(str(checkpoint.path))
    TrainerState.load_from_json(str(checkpoint.path / "trainer_state.json"))
    trainer._load_optimizer_and_scheduler(str(checkpoint.path))
    trainer._load_rng_state(str(checkpoint.path))
    trainer._is_finished(str(checkpoint.path))


@pytest.mark.parametrize("name", READ)
def test_damaged_values_never_give_a_traceback(trainer, name):
    newest, _ = list_checkpoints(trainer.checkpoint_root)
    before, manifest = ((newest.path / n).read_bytes() for n in (name, "manifest.json"))
    said, refused, used = [], 0, 0
    for content in damaged(before, name):
        forge(newest, name, content)
        if (damage := newest.damage() or resume_damage(newest)) is not None:
            said.append(damage)
        else:
            try:
                load(trainer, newest)
                used += 1
            except UltraError:
                refused += 1
        (newest.path / name).write_bytes(before)
        (newest.path / "manifest.json").write_bytes(manifest)
    assert len(said) > COPIES / 4, (len(said), refused, used)
    assert newest_intact(trainer.checkpoint_root, pytest.fail, check=resume_damage) == newest
    load(trainer, newest)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "sub/x.pkl"]
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside"])
def test_pickles_are_neither_read_nor_run(trainer, tmp_path, name, listed, alone):
    newest, older = list_checkpoints(trainer.checkpoint_root)
    (newest.path / name).parent.mkdir(exist_ok=True)
    (newest.path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "pwned")))
    if alone:
        manifest = json.loads((newest.path / "manifest.json").read_text())
        for path in newest.path.glob("*.safetensors"):
            path.unlink()
            del manifest["files"][path.name]
        (newest.path / "manifest.json").write_text(json.dumps(manifest))
    if listed:
        forge(newest, name, (newest.path / name).read_bytes())
    said = []
    assert newest_intact(trainer.checkpoint_root, said.append, check=resume_damage) == older
    assert f"it holds {name}, which may be pickled code; ultra neither writes nor reads pickles" in said[0]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "random.safetensors"])
@pytest.mark.parametrize("kind", ["header", "length", "empty", "truncated", "other names"])
def test_tensors_that_cannot_be_read(trainer, name, kind):
    newest, older = list_checkpoints(trainer.checkpoint_root)
    content = (newest.path / name).read_bytes()
    damaged = {
        "header": content[:8] + b"{" * 40 + content[48:],
        "length": b"\xff" * 8 + content[8:],
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "other names": b"\x02\0\0\0\0\0\0\0{}",
    }
    forge(newest, name, damaged[kind])
    said = []
    chosen = newest_intact(trainer.checkpoint_root, said.append, check=resume_damage)
    if chosen == newest:
        assert (name, kind) == ("model.safetensors", "other names")
        with pytest.raises(UltraError, match="does not fit this model"):
            load(trainer, newest)
    else:
        assert chosen == older
        assert name.split(".")[0] in said[0]


@pytest.mark.parametrize("name", ["model.safetensors", "progress.json", "trainer_state.json", "random.json"])
def test_a_part_that_is_missing(trainer, name):
    newest, older = list_checkpoints(trainer.checkpoint_root)
    manifest = json.loads((newest.path / "manifest.json").read_text())
    del manifest["files"][name]
    (newest.path / name).unlink()
    (newest.path / "manifest.json").write_text(json.dumps(manifest))
    assert newest_intact(trainer.checkpoint_root, check=resume_damage) == older


@pytest.mark.parametrize("position", [[0, 6], [3, 10**9], [0, 2**52]])
def test_a_position_that_is_not_in_the_data(trainer, position):
    newest, _ = list_checkpoints(trainer.checkpoint_root)
    progress = json.loads((newest.path / "progress.json").read_text())
    forge(newest, "progress.json", json.dumps({**progress, "position": position}).encode())
    with pytest.raises(UltraError, match="position outside of the data"):
        load(trainer, newest)


def test_files_that_were_added_are_not_loaded(trainer):
    newest, older = list_checkpoints(trainer.checkpoint_root)
    shutil.copy(newest.path / "model.safetensors", newest.path / "adapter_model.safetensors")
    said = []
    assert newest_intact(trainer.checkpoint_root, said.append, check=resume_damage) == older
    assert said[0].endswith("adapter_model.safetensors was added after it was written")
