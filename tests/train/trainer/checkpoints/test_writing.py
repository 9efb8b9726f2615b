from __future__ import annotations

import errno

import pytest
import torch

from ultra_train.system.disk_space import DiskFullError
from ultra_train.trainer.checkpoints.state_files import save_state
from ultra_train.trainer.checkpoints.writing import write_checkpoint


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left"), OSError(errno.EDQUOT, "quota"), RuntimeError("os error 28")],
)
def test_a_full_disk_leaves_the_older_one_and_nothing_else(put, tmp_path, error):
    put(tmp_path, 1)

    def fill(folder):
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(DiskFullError, match=r"quota is full, .* nothing half-written .* checkpoint-1$"):
        write_checkpoint(tmp_path, 2, fill, {})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_really_full_disk(tmp_path):
    """A file-size limit stands in for a quota; it needs no rights."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(DiskFullError):
            write_checkpoint(tmp_path, 2, lambda f: save_state(f / "state", {"w": torch.zeros(100_000)}), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


def test_other_errors_pass_and_clean_up(tmp_path):
    def fill(folder):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_checkpoint(tmp_path, 2, fill, {})
    assert not list(tmp_path.iterdir())
