from __future__ import annotations

import pytest

from ultra_train.run import model_folder
from ultra_train.run.model_folder import publish
from ultra_train.system.owned_files import OwnedFiles


def write(text):
    def fill(folder):
        (folder / "1_Pooling").mkdir()
        (folder / "model.safetensors").write_text(text)
        (folder / "README.md").write_text(f"card of {text}")
        (folder / "1_Pooling" / "config.json").write_text(text)

    return fill


def content(folder):
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_text() for p in found}


def test_a_hidden_folder_of_the_same_name_stays(tmp_path):
    """``hf_output_dir: ./git`` once removed ``.git``."""
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main")
    publish(tmp_path / "git", write("one"), OwnedFiles(tmp_path), print)
    assert (tmp_path / ".git" / "HEAD").read_text() == "ref: refs/heads/main"
    assert (tmp_path / ".git" / "objects").is_dir()
    assert content(tmp_path / "git").keys() == {"model.safetensors", "README.md", "1_Pooling/config.json"}
    assert {p.name for p in tmp_path.iterdir()} == {".git", "git", "made.json"}


def test_its_own_files_are_replaced_and_others_are_renamed(tmp_path):
    folder, said = tmp_path / "model", []
    made = OwnedFiles(tmp_path)
    publish(folder, write("one"), made, said.append)
    (folder / "README.md").write_text("my own card")
    (folder / "thesis.tex").write_text("years of work")
    publish(folder, write("two"), made, said.append)
    assert content(folder) == {
        "model.safetensors": "two",
        "README.md": "card of two",
        "README.1.md": "my own card",
        "1_Pooling/config.json": "two",
        "thesis.tex": "years of work",
    }
    assert len(said) == 1
    assert "README.1.md" in said[0]


@pytest.mark.parametrize(
    "record", ["", "{", "[]", '{"model": 5}', '{"model": {"folder": "x", "files": [1]}}']
)
def test_without_a_record_nothing_is_its_own(tmp_path, record):
    folder, made = tmp_path / "model", OwnedFiles(tmp_path)
    publish(folder, write("one"), made, print)
    made.path.write_text(record)
    publish(folder, write("two"), made, print)
    there = content(folder)
    assert there["model.safetensors"] == "two"
    assert there["model.1.safetensors"] == "one"
    publish(folder, write("three"), made, print)
    assert content(folder).keys() == there.keys()


def test_a_model_that_does_not_fit_on_the_disk_leaves_what_was_there(tmp_path):
    def full(folder):
        (folder / "half").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path / "out" / "model", full, OwnedFiles(tmp_path), print)
    assert not list((tmp_path / "out").iterdir())
    publish(tmp_path / "out" / "model", write("one"), OwnedFiles(tmp_path), print)
    before = content(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path / "out" / "model", full, OwnedFiles(tmp_path), print)
    assert content(tmp_path) == before


def test_a_kill_between_two_files_leaves_only_its_own(tmp_path, monkeypatch):
    folder, made = tmp_path / "model", OwnedFiles(tmp_path)
    publish(folder, write("one"), made, print)

    class Killed(BaseException):
        """Passes every handler, as a kill does."""

    move = model_folder._move

    def first_file_only(source, target, names, ours, say):
        move(source, target, names[:1], ours, say)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(model_folder, "_move", first_file_only)
        with pytest.raises(Killed):
            publish(folder, write("two"), made, print)
    assert sorted({v.removeprefix("card of ") for v in content(folder).values()}) == ["one", "two"]
    publish(folder, write("three"), OwnedFiles(tmp_path), pytest.fail)
    assert content(folder)["model.safetensors"] == "three"
    assert len(content(folder)) == 3


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_writer_left_goes_and_what_others_named_alike_stays(tmp_path, monkeypatch, there):
    folder = tmp_path / "model"
    if there:
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")

    def killed(temporary):
        (temporary / "model.safetensors").write_text("half")
        raise SystemExit(9)

    monkeypatch.setattr(model_folder.shutil, "rmtree", lambda *args, **kwargs: None)
    with pytest.raises(SystemExit):
        publish(folder, killed, OwnedFiles(tmp_path), print)
    monkeypatch.undo()
    (left,) = [p for p in tmp_path.rglob("*") if p.is_dir() and p.name.startswith(".")]
    (tmp_path / ".model-mine").mkdir()
    publish(folder, write("one"), OwnedFiles(tmp_path), print)
    assert not left.exists()
    assert (tmp_path / ".model-mine").is_dir()
    assert (folder / "model.safetensors").read_text() == "one"
