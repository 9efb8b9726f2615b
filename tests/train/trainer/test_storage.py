import os

import pytest

import ultra_train
from ultra_train.system.disk_space import DiskFullError
from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.checkpoints.retention import RetentionPolicy
from ultra_train.trainer.checkpoints.writing import write_checkpoint
from ultra_train.trainer.storage import StorageManager


def _fill(folder):
    (folder / "data").write_text("x" * 10_000)


@pytest.fixture
def run(tmp_path):
    """Four checkpoints of 10 kB, of which the second is the best, in a run."""
    root = tmp_path / "run" / "checkpoints"
    root.mkdir(parents=True)
    for step, loss in ((1, 9.0), (2, 1.0), (3, 9.0), (4, 9.0)):
        write_checkpoint(root, step, _fill, {"metrics": {"loss": loss}})
    return tmp_path / "run"


def _kept(run):
    return [checkpoint.step for checkpoint in list_checkpoints(run / "checkpoints")]


def _manager(run, budget, **options):
    retention = RetentionPolicy(newest=3, best=1, metric="loss")
    return StorageManager(run, budget_gb=budget / 1e9, retention=retention, **options)


def _cache(folder, name, *, days):
    path = folder / name
    path.mkdir(parents=True)
    (path / "shard-00000.arrow").write_bytes(b"x" * 20_000)
    (path / "manifest.json").write_text('{"shards": [{"file": "shard-00000.arrow"}]}')
    os.utime(path, times=(path.stat().st_mtime - days * 86_400,) * 2)
    return path


def test_room_is_made_by_old_checkpoints_but_never_by_the_best_or_the_newest(run):
    _manager(run, 45_000).make_room(10_000)
    assert _kept(run) == [4, 3, 2]
    _manager(run, 32_000).make_room(10_000)
    assert _kept(run) == [4, 2]
    with pytest.raises(DiskFullError, match="storage_budget_gb"):
        _manager(run, 29_000).make_room(10_000)
    with pytest.raises(DiskFullError, match="free on the disk"):
        _manager(run, 10**19).make_room(10**18)
    assert _kept(run) == [4, 2]


def test_unused_caches_go_after_the_rolling_checkpoints(run, tmp_path):
    caches = tmp_path / "cache"
    older, newer, recent, own = (
        _cache(caches, f"tokens-{name}", days=days)
        for name, days in (("older", 9), ("newer", 3), ("recent", 0), ("own", 5))
    )
    foreign = caches / "notes.txt"
    foreign.write_text("mine")
    manager = _manager(run, 150_000, cache_dir=caches, in_use=[own])
    assert 120_000 < manager.used < 130_000
    manager.make_room(10_000)
    assert _kept(run) == [4, 3, 2, 1]
    manager.make_room(manager.left + 25_000)
    assert _kept(run) == [4, 2]
    assert not older.exists()
    assert newer.exists()
    with pytest.raises(DiskFullError, match="already take"):
        manager.make_room(140_000)
    assert not newer.exists()
    assert all(path.exists() for path in (recent, own, foreign))


def test_chunks_of_a_build_that_nobody_finished_go_like_an_unused_cache(run, tmp_path):
    shared = tmp_path / "cache" / ".tokens-a.shared-25"
    (shared / "source-0").mkdir(parents=True)
    for name in ("assembly.claim", "source-0/chunk-0000003.npz", "source-0/assembled"):
        (shared / name).write_bytes(bytes(9_000))
    _manager(run, 60_000, cache_dir=shared.parent).make_room(10_000)
    assert shared.exists(), "somebody may still work on it"
    os.utime(shared, times=(0, 0))
    _manager(run, 40_000, cache_dir=shared.parent).make_room(10_000)
    assert not shared.exists()


def test_a_budget_that_is_nearly_used_up_is_said_once(run):
    said = []
    manager = _manager(run, 52_000, say=said.append)
    manager.make_room(1_000)
    assert not said
    manager.make_room(10_000)
    manager.make_room(10_000)
    assert len(said) == 1
    assert "of the 0.1 MB of training.storage_budget_gb" in said[0]


def test_the_budget_is_300_gb_and_the_class_is_public(tmp_path):
    assert ultra_train.StorageManager is StorageManager
    assert StorageManager(tmp_path).budget == 300 * 10**9
