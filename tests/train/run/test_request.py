"""Where a run will be, decided before anything is created."""

from __future__ import annotations

import pytest

from ultra_core.errors import UltraError


def test_a_second_run_gets_a_number_and_a_taken_name_is_an_error(run_tiny, finished_run):
    short = "training.scheduler_total_steps=1"
    second = run_tiny(finished_run.parent, short)
    assert second.name == f"{finished_run.name}-2"
    with pytest.raises(UltraError, match="exists already"):
        run_tiny(finished_run.parent, short, name=finished_run.name)


def test_resuming_what_is_not_there_says_what_is(run_tiny, finished_run):
    with pytest.raises(UltraError, match="Did you mean 'tiny'"):
        run_tiny(finished_run.parent, resume=True, name="tinny")


@pytest.mark.parametrize("key", ["cache_dir", "csv_log_path", "hf_output_dir"])
def test_a_place_below_a_file_is_refused_before_anything_else(run_tiny, tmp_path, key):
    (tmp_path / "file").write_text("")
    with pytest.raises(UltraError, match=rf"training.{key}: .*file is a file"):
        run_tiny(tmp_path / "runs", f"training.{key}={tmp_path}/file/deep/inside")
    assert not (tmp_path / "runs").exists()
