"""The lock of a run's folder: one process at a time, also after kills and in forked children."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from support.folders import everything
from ultra_train.run.folder import choose_folder, reserved
from ultra_train.run.folder_lock import RunFolderError, is_locked, locked
from ultra_train.system.owned_files import OwnedFiles


def test_a_lock_is_given_back(tmp_path):
    with locked(tmp_path / "a"):
        assert is_locked(tmp_path / "a")
        with pytest.raises(RunFolderError, match="in use"), locked(tmp_path / "a"):
            pass
    assert not is_locked(tmp_path / "a")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_outlives_its_parent_holds_no_lock(tmp_path):
    end, start = os.pipe()
    runs, running = os.pipe()
    with locked(tmp_path / "a"):
        child = os.fork()
        if not child:
            os.close(start)
            os.write(running, b".")
            os.read(end, 1)  # until the parent closes the pipe
            os._exit(0)
        os.read(runs, 1)  # the child lets go before its first own statement, not before the fork returns here
    try:
        assert not is_locked(tmp_path / "a")
    finally:
        os.close(start)
        os.waitpid(child, 0)
        for pipe in (end, runs, running):
            os.close(pipe)


def test_a_lock_that_is_no_text(tmp_path):
    with locked(tmp_path / "a"):
        (tmp_path / "a" / ".lock").write_bytes(b"\xff\xfe")
        with pytest.raises(RunFolderError, match="in use"), locked(tmp_path / "a"):
            pass


def between_opening_and_locking(monkeypatch, happens):
    """Have something happen once, after the next lock file is opened and before it is locked."""
    fcntl = pytest.importorskip("fcntl")
    lock, calls = fcntl.flock, []

    def flock(file, operation):
        if not calls:
            calls.append(file)
            happens()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_process_that_comes_second_removes_nothing_of_the_first(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "a"
    with ExitStack() as first:

        def start():
            first.enter_context(reserved(folder))
            (folder / "config.yaml").touch()
            (folder / "checkpoints").mkdir()
            (folder / "tokenizer").mkdir()
            (folder / "tokenizer" / "tokenizer.json").touch()
            OwnedFiles(folder).put("tokenizer", {"files": {"tokenizer.json": ""}})

        between_opening_and_locking(monkeypatch, start)
        with pytest.raises(RunFolderError, match="in use"), reserved(folder):
            pass
        names = {".lock", "config.yaml", "checkpoints", "tokenizer", "tokenizer/tokenizer.json", "made.json"}
        assert everything(folder) == names
        assert is_locked(folder)
    assert everything(folder) == {".lock"}  # the second opened it before the first took it
    assert choose_folder(folder.parent, "a", name=None, resume=False) == folder


def test_a_lock_that_its_holder_removes_meanwhile_is_made_anew(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "a"

    first = ExitStack()
    first.enter_context(reserved(folder))
    between_opening_and_locking(monkeypatch, first.close)
    with reserved(folder):
        assert everything(folder) == {".lock"}
        assert is_locked(folder)
    assert not list(tmp_path.iterdir())
