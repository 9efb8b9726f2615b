"""What a run says and logs of its data, and the caches that it uses."""

import json
import os
import re

import pytest

from ultra_core.errors import UltraError

SHORT = ("training.scheduler_total_steps=1",)


def test_a_read_only_cache_that_holds_the_build_is_used(run_tiny, tmp_path, read_only):
    cache = tmp_path / "cache"
    run_tiny(tmp_path / "runs", f"training.cache_dir={cache}", *SHORT)
    where = read_only(cache)
    run_tiny(tmp_path / "runs", f"training.cache_dir={where}", *SHORT)
    with pytest.raises(UltraError, match=r"cannot be written .*training.cache_dir"):
        run_tiny(tmp_path / "runs", f"training.cache_dir={where}", "training.max_length=20", *SHORT)


@pytest.mark.parametrize("holds_builds", [True, False])
def test_a_cache_that_cannot_be_written_is_refused_at_once_when_nothing_is_there(
    run_tiny, tmp_path, monkeypatch, holds_builds
):
    cache = tmp_path / "cache"
    cache.mkdir()
    if holds_builds:
        run_tiny(tmp_path / "runs", f"training.cache_dir={cache}", *SHORT)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != cache and allowed(path, mode))
    if holds_builds:
        run_tiny(tmp_path / "runs", f"training.cache_dir={cache}", *SHORT)
    else:
        with pytest.raises(UltraError, match=r"training.cache_dir: .*cache is not writable"):
            run_tiny(tmp_path / "runs", f"training.cache_dir={cache}", *SHORT)
        assert not (tmp_path / "runs").exists()


def test_what_the_data_was_made_of_is_shown_and_logged_once(run_tiny, tmp_path, capsys):
    folder = run_tiny(tmp_path, "training.scheduler_total_steps=4", "training.checkpoint_every_n_steps=2")
    said = capsys.readouterr().out
    assert re.search(r"source +files  texts  split  documents +tokens\n .*texts.txt +1 +216 ", said)
    run_tiny(tmp_path, "training.scheduler_total_steps=6", resume=True, name=folder.name)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (event,) = [record for record in records if record.get("event") == "data"]
    assert event["step"] == 0
    assert event["sources"][0]["texts"] == 216
    assert "216 texts" in (folder / "report.html").read_text()


def test_a_folder_for_the_tokenizer_that_holds_other_files_is_left_as_it_is(run_tiny, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    with pytest.raises(UltraError, match="mine: no tokenizer can be loaded"):
        run_tiny(tmp_path / "runs", f"tokenizer.name_or_path={tmp_path / 'mine'}", *SHORT)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    run_tiny(tmp_path / "runs", f"tokenizer.name_or_path={tmp_path / 'empty'}", *SHORT)
    assert (tmp_path / "empty" / "tokenizer.json").is_file()


def test_bad_rows_are_skipped_and_named_when_the_preset_says_so(run_tiny, tiny_preset, tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    texts = (tiny_preset.parent / "texts.txt").read_text("utf-8").splitlines()
    rows = [json.dumps({"text": text}) + "\n" for text in texts]
    path.write_text("".join([*rows[:20], "broken\n", *rows[20:]]), encoding="utf-8")
    data = (f"training.dataset={path}", f"training.cache_dir={tmp_path / 'cache'}", *SHORT)
    with pytest.raises(UltraError, match=r"a.jsonl:21: is not JSON .* on_bad_rows: skip"):
        run_tiny(tmp_path / "runs", *data)
    for _ in range(2):  # built, then reused
        run_tiny(tmp_path / "runs", "training.on_bad_rows=skip", *data)
        said = capsys.readouterr().out
        assert re.search(r"source +files  bad rows  texts", said)
        assert f"skipped of {path}: {path}:21: is not JSON" in said
