"""The cache of trained tokenizers when several runs start at once."""

from __future__ import annotations

import json

import pytest

from ultra_train.tasks.tokenizer_cache import VOCABULARY, provide


def trains(folder):
    folder.mkdir(parents=True)
    (folder / VOCABULARY).write_text(json.dumps({"of": "the same texts"}))


def start(tmp_path, name, train):
    said = []
    folder = provide(
        tmp_path / name, cache=tmp_path / "cache", about={"texts": 1}, train=train, say=said.append
    )
    return json.loads((folder / VOCABULARY).read_text()), "\n".join(said)


@pytest.fixture
def runs(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_tokenizer_that_another_run_put_into_the_cache_meanwhile_is_used(runs):
    def train(folder):
        start(runs, "b", trains)
        trains(folder)

    tokenizer, said = start(runs, "a", train)
    assert tokenizer == {"of": "the same texts"}
    assert "that one is used" in said
    assert "damaged" not in said
    (kept,) = (runs / "cache").iterdir()
    assert kept.name.startswith("tokenizer-")


def test_one_that_is_damaged_makes_way(runs):
    start(runs, "b", trains)
    (cached,) = (runs / "cache").iterdir()
    (cached / VOCABULARY).write_text("{}")
    tokenizer, said = start(runs, "a", trains)
    assert tokenizer == {"of": "the same texts"}
    assert f"was damaged; it is now {cached.name}.1" in said
    assert {p.name for p in (runs / "cache").iterdir()} == {cached.name, f"{cached.name}.1"}


def test_one_that_comes_between_the_look_and_the_rename_is_used(runs, monkeypatch):
    """The damaged one is renamed, and before the new one has its place, another run's is there."""
    from ultra_train.system import files

    start(runs, "b", trains)
    (cached,) = (runs / "cache").iterdir()
    (cached / VOCABULARY).write_text("{}")
    (runs / "c").mkdir()

    original = files.set_aside

    def set_aside(path, stem=None):
        monkeypatch.undo()
        aside = original(path, stem)
        start(runs, "c", trains)
        return aside

    monkeypatch.setattr(files, "set_aside", set_aside)
    tokenizer, said = start(runs, "a", trains)
    assert tokenizer == {"of": "the same texts"}
    assert "that one is used" in said
    assert len(list((runs / "cache").iterdir())) == 2
