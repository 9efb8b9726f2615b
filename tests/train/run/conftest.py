"""Runs in a process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from support.forked_run import ForkedRun
from support.ranks import environment, free_port


@pytest.fixture(autouse=True)
def _no_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate collects garbage before every training: half a second with transformers loaded."""
    monkeypatch.setattr("gc.collect", lambda *args: 0)


@pytest.fixture
def start(tiny_preset, tmp_path) -> Iterator[Callable[..., ForkedRun]]:
    """Start a run; what is left of it at the end of the test is killed."""
    runs = []

    def begin(*arguments: str, **options: Any) -> ForkedRun:
        given = ["run", str(tiny_preset), "--output-dir", str(tmp_path / "runs"), "--device", "cpu"]
        runs.append(ForkedRun([*given, *arguments], tmp_path / f"output{len(runs)}", **options))
        return runs[-1]

    yield begin
    for run in reversed(runs):
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


@pytest.fixture
def start_ranks(start) -> Callable[..., list[ForkedRun]]:
    """Start the processes of one run, as ``torchrun`` does."""

    def begin(*arguments: str, count: int = 2) -> list[ForkedRun]:
        port = free_port()
        return [start(*arguments, environment=environment(rank, count, port)) for rank in range(count)]

    return begin
