import os
import socket
import time

import pyarrow as pa
import pytest

from ultra_train.data.idle_caches import IDLE, idle_caches, remove_cache
from ultra_train.data.pairs.store import PairStore


def build(store):
    with store.building() as (folder, about):
        table = pa.table({"anchor": ["a"], "positive": ["b"]})
        with (
            pa.OSFile(str(folder / "train.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
        about["fingerprints"] = {"train": "abc"}


@pytest.fixture
def store(tmp_path):
    store = PairStore(tmp_path, {"source": "a"}, lambda line: pytest.fail(line))
    build(store)
    return store


def test_another_identity_has_another_folder(store, tmp_path):
    assert store.about() is not None
    assert store.datasets({"train": "abc"})["train"].to_list() == [{"anchor": "a", "positive": "b"}]
    assert PairStore(tmp_path, {"source": "b"}, print).about() is None
    assert PairStore(tmp_path, {"source": "a"}, print).about() == store.about()


def test_what_a_killed_process_left_is_removed(store):
    left = store.folder.with_name(f".{store.folder.name}.{socket.gethostname()}.999999999.abcd")
    left.mkdir()
    (left / "rows.arrow").write_bytes(b"x")
    build(store)
    assert not left.exists()
    assert store.about() is not None


def test_pairs_that_nobody_uses_are_removed_and_other_files_stay(store, tmp_path):
    work = tmp_path / f"{store.folder.name}-teacher"
    work.mkdir()
    (work / "scores-000000000000.npy").write_bytes(b"x")
    assert idle_caches(tmp_path) == []
    for folder in (store.folder, work):
        os.utime(folder, (time.time() - 2 * IDLE,) * 2)
    assert set(idle_caches(tmp_path)) == {store.folder, work}
    store.datasets({"train": "abc"})
    assert idle_caches(tmp_path) == [work]
    assert remove_cache(work)
    (store.folder / "notes.txt").write_text("mine")
    assert not remove_cache(store.folder)
    assert [path.name for path in store.folder.iterdir()] == ["notes.txt"]
