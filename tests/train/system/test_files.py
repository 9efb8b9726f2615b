from __future__ import annotations

import os
import stat

import pytest

from ultra_train.system import files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "notes.txt"
    files.write_text(path, "one")
    files.write_text(path, "two")
    assert path.read_text() == "two"

    def half():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # not 0600, which temporaries often have


def test_what_has_the_name_of_a_temporary_is_never_touched(tmp_path, monkeypatch):
    draws = iter(["taken", "taken", "free", "taken", "free2"])
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: next(draws))
    (tmp_path / ".notes.txt.taken.tmp").write_text("mine")
    files.write_text(tmp_path / "notes.txt", "ours")
    assert (tmp_path / ".notes.txt.taken.tmp").read_text() == "mine"
    (tmp_path / "x-taken").mkdir()
    (tmp_path / "x-taken" / "mine").touch()
    assert files.new_folder(tmp_path, "x-").name == "x-free2"
    assert (tmp_path / "x-taken" / "mine").exists()


def test_setting_aside_overwrites_nothing(tmp_path):
    for name in ("a.csv", "a.1.csv"):
        (tmp_path / name).write_text(name)
    assert files.set_aside(tmp_path / "a.csv").name == "a.2.csv"
    assert (tmp_path / "a.1.csv").read_text() == "a.1.csv"
    assert (tmp_path / "a.2.csv").read_text() == "a.csv"
    for name in ("model", "model.1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    assert files.set_aside(tmp_path / "model").name == "model.2"
    assert (tmp_path / "model.1" / "x").read_text() == "model.1"


def test_only_named_files_are_removed_and_none_outside(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    for path in (folder / "a", folder / "sub" / "b", folder / "mine", outside / "c", tmp_path / "d"):
        path.touch()
    (folder / "link").symlink_to(outside)
    names = ["a", "sub/b", "link/c", "../d", str(tmp_path / "d"), "never/there"]
    files.remove_files(folder, names)
    assert {p.name for p in folder.iterdir()} == {"mine", "link"}
    assert (outside / "c").exists()
    assert (tmp_path / "d").exists()
    files.remove_empty(folder)
    assert folder.exists()


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5_000, b"", b"\0"])
def test_every_fault_of_json_is_one_error(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(ValueError):  # noqa: PT011  the message is of the parser
        files.read_json(tmp_path / "x.json")
