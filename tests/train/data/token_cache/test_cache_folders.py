"""A cache is used where it cannot be written, and nothing of anybody else's is removed from it."""

import builtins
import errno
import os
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.es_commands import commands
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.token_cache import assembly, cache_folders
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.manifest import MANIFEST


@pytest.fixture
def made(corpus, tokenizer, tmp_path):
    """Make a build, or open the one that is there: ``made()`` returns its training part and what was said."""

    def make(cache=tmp_path / "cache", max_length=64):
        said = []
        options = {"max_length": max_length, "cache_dir": cache, "notify": said.append}
        train, _ = prepare(read_sources(str(corpus)), tokenizer, eval_fraction=0, **options)
        return train, said

    return make


def _tokens(shards):
    return shards.gather(np.arange(len(shards)))[0].tolist()


def test_a_whole_build_on_a_read_only_file_system_is_used(made, tmp_path, read_only):
    train, _ = made()
    again, said = made(read_only(tmp_path / "cache"))
    assert said == []
    assert _tokens(again) == _tokens(train)
    with pytest.raises(DataError, match=r"cannot be written \(Read-only file system\).*cache_dir"):
        made(tmp_path / "read-only", max_length=32)


def test_a_whole_build_is_used_without_a_single_write(made, tmp_path, monkeypatch):
    train, _ = made()

    def refuse(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in (
        "mkdir",
        "rename",
        "replace",
        "remove",
        "unlink",
        "rmdir",
        "link",
        "symlink",
        "utime",
        "chmod",
    ):
        monkeypatch.setattr(os, name, refuse)
    opened, os_open = builtins.open, os.open

    def only_read(file, mode="r", *args, **options):
        return opened(file, mode, *args, **options) if set(mode) <= set("rbt") else refuse()

    monkeypatch.setattr(builtins, "open", only_read)
    monkeypatch.setattr("io.open", only_read)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    monkeypatch.setattr(os, "open", lambda p, f, *a, **o: refuse() if f & writing else os_open(p, f, *a, **o))
    again, said = made()
    monkeypatch.undo()
    assert said == []
    assert _tokens(again) == _tokens(train)


def test_embedded_sentences_need_no_writable_cache(tmp_path, monkeypatch, read_only):
    monkeypatch.setattr(commands, "_built", lambda language: [commands.Sentence("hola", "t")])
    kept = commands.sentences("es", cache_dir=tmp_path / "cache")
    where = read_only(tmp_path / "cache")
    assert commands.sentences("nb", cache_dir=where) == kept
    monkeypatch.setattr(commands, "_built", lambda language: pytest.fail("built again"))
    assert commands.sentences("es", cache_dir=where) == kept


def test_a_file_beside_the_shards_of_a_damaged_build_is_kept(made):
    train, _ = made()
    expected = _tokens(train)
    (train.directory / "notes.txt").write_text("years of work")
    shard = train.directory / "shard-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-1])
    again, said = made()
    assert _tokens(again) == expected
    aside = Path(f"{train.directory}.aside-1")
    assert [path.name for path in aside.iterdir()] == ["notes.txt"]
    assert str(aside) in said[1]


def test_a_build_without_a_readable_manifest_is_set_aside_as_it_is(made):
    train, _ = made()
    (train.directory / MANIFEST).write_text("no manifest")
    made()
    aside = Path(f"{train.directory}.aside-1")
    assert {path.name for path in aside.iterdir()} == {MANIFEST, "shard-00000.arrow"}
    (train.directory / MANIFEST).write_text("no manifest")
    made()
    assert Path(f"{train.directory}.aside-2").is_dir()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_what_has_the_name_of_a_build_and_is_none(kind, made, tmp_path):
    train, _ = made()
    expected = _tokens(train)
    place = train.directory
    place.rename(tmp_path / "away")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    if kind == "file":
        place.write_text("years of work")
    elif kind == "folder":
        precious.rename(place)
        precious = Path(f"{place}.aside-1")
    else:
        place.symlink_to(precious if kind == "link" else tmp_path / "nowhere")
    again, said = made()
    assert _tokens(again) == expected
    assert any("was renamed to" in line for line in said)
    assert (precious / "thesis.tex").read_text() == "years of work"
    assert os.path.lexists(f"{place}.aside-1")
    assert made()[1] == []


def test_a_linked_build_is_used_and_one_that_is_damaged_is_left_where_it_is(made, tmp_path):
    train, _ = made()
    expected = _tokens(train)
    train.directory.rename(tmp_path / "elsewhere")
    train.directory.symlink_to(tmp_path / "elsewhere")
    assert made()[1] == []
    shard = tmp_path / "elsewhere" / "shard-00000.arrow"
    shard.write_bytes(b"damaged")
    again, _ = made()
    assert _tokens(again) == expected
    assert shard.read_bytes() == b"damaged"


def test_leftovers_are_removed_without_what_others_put_there(made):
    train, _ = made()
    left = train.directory.with_name(f"{cache_folders._prefix(train.directory)}4194304.0123abcd")
    mine = train.directory.with_name(f"{cache_folders._prefix(train.directory)}4194304")
    for folder in (left, mine):
        folder.mkdir()
        (folder / "shard-00000.arrow").touch()
    (mine / "thesis.tex").write_text("years of work")
    cache_folders.remove_leftovers(train.directory)
    assert not left.exists()
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


def test_two_processes_that_make_the_same_build_have_folders_of_their_own(tmp_path):
    place = tmp_path / "tokens-0"
    with cache_folders.unfinished(place) as first, cache_folders.unfinished(place) as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
    assert not list(tmp_path.iterdir())


def test_what_another_process_finished_first_is_used(made, tmp_path, monkeypatch):
    train, _ = made(tmp_path / "other")
    put = assembly.put_in_place

    def late(folder, manifest, directory, say):
        shutil.copytree(train.directory, directory)
        return put(folder, manifest, directory, say)

    monkeypatch.setattr(assembly, "put_in_place", late)
    again, said = made()
    assert said == []
    assert _tokens(again) == _tokens(train)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [train.directory.name]


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b", b"\x1f\x8b" + bytes(50)])
def test_a_damaged_cache_of_sentences_is_set_aside(content, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "_built", lambda language: [commands.Sentence("hola", "t")])
    commands.sentences("es", cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    said = []
    assert commands.sentences("es", cache_dir=tmp_path, notify=said.append) == [
        commands.Sentence("hola", "t")
    ]
    assert said[0].startswith(f"notice: {path} is damaged (")
    assert len(said) == 1
    assert Path(f"{path}.aside-1").read_bytes() == content
    assert commands.sentences("es", cache_dir=tmp_path, notify=said.append) == [
        commands.Sentence("hola", "t")
    ]
    assert len(said) == 1


def test_no_change_of_the_cache_of_sentences_gives_others(tmp_path, monkeypatch):
    wanted = [commands.Sentence(f"abre la puerta {number}", f"template {number % 7}") for number in range(60)]
    monkeypatch.setattr(commands, "_built", lambda language: wanted)
    commands.sentences("es", cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    said = []
    for number in range(200):
        draw, content = Random(number), bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice([len(content), len(content), draw.randrange(len(content))])])
        assert commands.sentences("es", cache_dir=tmp_path, notify=said.append) == wanted
        path.unlink(missing_ok=True)
    assert len(said) > 150
