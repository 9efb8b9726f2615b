from __future__ import annotations

import errno
import os
from contextlib import ExitStack

import pytest

from ultra_train.run.folder import (
    RunFolderError,
    check_reachable,
    check_unused,
    choose_folder,
    is_locked,
    locked,
    reserved,
)
from ultra_train.system.owned_files import OwnedFiles


def trained(folder):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    (folder / "metrics.jsonl").write_text("")
    return folder


def test_a_new_run_never_takes_the_folder_of_another(tmp_path):
    assert choose_folder(tmp_path, "quickstart", name=None, resume=False).name == "quickstart"
    trained(tmp_path / "quickstart")
    assert choose_folder(tmp_path, "quickstart", name=None, resume=False).name == "quickstart-2"
    trained(tmp_path / "quickstart-2")
    assert choose_folder(tmp_path, "quickstart", name=None, resume=False).name == "quickstart-3"
    assert choose_folder(tmp_path, "quickstart", name=None, resume=True).name == "quickstart-2"
    assert choose_folder(tmp_path, "quickstart", name="quickstart", resume=True).name == "quickstart"
    with pytest.raises(RunFolderError, match="exists already"):
        choose_folder(tmp_path, "quickstart", name="quickstart", resume=False)


def test_a_folder_whose_run_never_trained_is_taken_again(tmp_path):
    folder = tmp_path / "a"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    assert choose_folder(tmp_path, "a", name=None, resume=False).name == "a-2"  # nothing says that it is ours
    with locked(folder):
        assert choose_folder(tmp_path, "a", name=None, resume=False).name == "a-2"
    assert choose_folder(tmp_path, "a", name=None, resume=False) == folder


@pytest.mark.parametrize("name", ["../up", "a/b", "", "-x", " "])
def test_a_name_is_not_a_path(tmp_path, name):
    with pytest.raises(RunFolderError, match="cannot name a run"):
        choose_folder(tmp_path, "a", name=name, resume=False)


def test_nothing_to_resume_lists_what_is_there(tmp_path):
    trained(tmp_path / "standard")
    with pytest.raises(RunFolderError, match="Did you mean 'standard'"):
        choose_folder(tmp_path, "standart", name=None, resume=True)


def test_a_lock_is_given_back(tmp_path):
    with locked(tmp_path / "a"):
        assert is_locked(tmp_path / "a")
        with pytest.raises(RunFolderError, match="in use"), locked(tmp_path / "a"):
            pass
    assert not is_locked(tmp_path / "a")


@pytest.mark.parametrize("name", [".", "..", "..."])
def test_dots_alone_are_no_name(tmp_path, name):
    with pytest.raises(RunFolderError, match="cannot name a run"):
        choose_folder(tmp_path, "a", name=name, resume=False)


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "a").write_text("notes")
    assert choose_folder(tmp_path, "a", name=None, resume=False).name == "a-2"
    with pytest.raises(RunFolderError, match="exists already"):
        choose_folder(tmp_path, "a", name="a", resume=False)
    with pytest.raises(RunFolderError, match=r"cannot be written .*--output-dir"), locked(tmp_path / "a/b"):
        pass


def test_a_model_is_never_written_over_what_is_there(tmp_path):
    check_unused(None)
    check_unused(str(tmp_path / "new"))
    check_unused(str(tmp_path))
    (tmp_path / "thesis.tex").write_text("years of work")
    for there in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(RunFolderError, match="nothing is overwritten"):
            check_unused(str(there))


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


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    check_reachable("key", tmp_path / "new" / "folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "new" / "folder"):
        with pytest.raises(RunFolderError, match=r"key: .*file is a file"):
            check_reachable("key", folder)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(RunFolderError, match="is not writable"):
        check_reachable("key", tmp_path / "new")


def everything(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


@pytest.mark.parametrize("there", [(), ("runs/",), ("runs/a/",), ("runs/a/notes.txt",), ("runs/b/.lock",)])
@pytest.mark.parametrize("error", [RunFolderError, KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_a_run_that_never_trained_leaves_what_was_there(tmp_path, there, error):
    for name in there:
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True)
        if not name.endswith("/"):
            path.touch()
    before, folder = everything(tmp_path), tmp_path / "runs" / "a"

    def fail():
        with reserved(folder):
            (folder / "config.yaml").touch()
            (folder / "checkpoints").mkdir()
            (folder / "tokenizer").mkdir()
            (folder / "tokenizer" / "tokenizer.json").touch()
            OwnedFiles(folder).put("tokenizer", {"files": {"tokenizer.json": "", "../../notes": ""}})
            raise error

    with pytest.raises(error if isinstance(error, type) else OSError):
        fail()
    assert everything(tmp_path) == before


def test_what_a_plugin_wrote_into_it_and_what_has_trained_stays(tmp_path):
    def start(name, trains):
        with reserved(tmp_path / name) as started:
            if trains:
                started()
            else:
                (tmp_path / name / "notes.txt").touch()
            raise RunFolderError

    with pytest.raises(RunFolderError):
        start("a", trains=False)
    assert everything(tmp_path) == {"a", "a/notes.txt"}
    with pytest.raises(RunFolderError):
        start("b", trains=True)
    assert everything(tmp_path / "b") == {".lock"}


def test_a_run_whose_config_is_lost_can_go_on(tmp_path):
    (tmp_path / "a" / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    assert choose_folder(tmp_path, "a", name=None, resume=True) == tmp_path / "a"
    with pytest.raises(RunFolderError, match=r"Runs there: a\."):
        choose_folder(tmp_path, "b", name=None, resume=True)


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
