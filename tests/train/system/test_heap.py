"""Freed memory stays in the process."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from support.ranks import on_ranks
from ultra_train.system.heap import keep_freed_memory

MIB = 2**20


def page_faults_of_a_second_tensor(keep: bool) -> int:
    """Return the page faults of filling 64 MiB where 64 MiB were freed before."""
    assert not keep or keep_freed_memory()
    torch.ones(64 * MIB // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * MIB // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the GNU C library has these settings")
def test_the_pages_of_a_freed_tensor_serve_the_next_one() -> None:
    (kept,) = on_ranks(1, page_faults_of_a_second_tensor, True, group=False)
    assert kept < 100


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
