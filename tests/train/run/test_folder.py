from __future__ import annotations

import errno
import os

import pytest

from support.folders import everything
from ultra_train.run.folder import check_reachable, check_unused, choose_folder, reserved
from ultra_train.run.folder_lock import RunFolderError, locked
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


@pytest.mark.parametrize("name", ["../up", "a/b", "", "-x", " ", "a ", " a", "a\n"])
def test_a_name_is_not_a_path(tmp_path, name):
    with pytest.raises(RunFolderError, match="cannot name a run"):
        choose_folder(tmp_path, "a", name=name, resume=False)


@pytest.mark.parametrize("name", ["español 2", "a.b+c-d", "ñ"])
def test_names_of_runs(tmp_path, name):
    assert choose_folder(tmp_path, "a", name=name, resume=False) == tmp_path / name


def test_nothing_to_resume_lists_what_is_there(tmp_path):
    trained(tmp_path / "standard")
    with pytest.raises(RunFolderError, match="Did you mean 'standard'"):
        choose_folder(tmp_path, "standart", name=None, resume=True)


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


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    check_reachable("key", tmp_path / "new" / "folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "new" / "folder"):
        with pytest.raises(RunFolderError, match=r"key: .*file is a file"):
            check_reachable("key", folder)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(RunFolderError, match="is not writable"):
        check_reachable("key", tmp_path / "new")


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
