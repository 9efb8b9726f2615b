"""What a run says and logs of its data, and the caches that it uses."""

import json
import os
import re
import subprocess

import pytest

from ultra_core.errors import UltraError

SHORT = ("training.scheduler_total_steps=1",)


def test_a_read_only_cache_that_holds_the_build_is_used(run_tiny, tmp_path):
    cache, where = tmp_path / "cache", tmp_path / "read-only"
    run_tiny(tmp_path / "runs", f"training.cache_dir={cache}", *SHORT)
    where.mkdir()
    for command in (["--bind", str(cache), str(where)], ["-o", "remount,bind,ro", str(where)]):
        if subprocess.run(["mount", *command], capture_output=True, check=False).returncode:
            pytest.skip("file systems cannot be mounted here")
    try:
        run_tiny(tmp_path / "runs", f"training.cache_dir={where}", *SHORT)
        with pytest.raises(UltraError, match=r"cannot be written .*training.cache_dir"):
            run_tiny(tmp_path / "runs", f"training.cache_dir={where}", "training.max_length=20", *SHORT)
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)  # shards stay mapped


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
        with pytest.raises(UltraError, match=r"training.cache_dir: .*cache may not be written to"):
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
