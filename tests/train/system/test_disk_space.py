from __future__ import annotations

import errno
import os
import signal

import pytest

from support.ranks import on_ranks
from ultra_train.system import disk_space
from ultra_train.system.disk_space import DiskFullError, DiskSpace
from ultra_train.system.processes import processes
from ultra_train.system.signals import Interrupted, Signals

FULL = OSError(errno.ENOSPC, "No space left on device")


class Clock:
    """Time that passes only in sleep; ``at`` are things that happen at a second."""

    def __init__(self, at=None):
        self.now, self.at = 0.0, at or {}

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.at.get(self.now, lambda: None)()


@pytest.fixture
def disk(monkeypatch):
    """A disk whose free bytes are set; a write of 10 bytes succeeds when they fit."""

    class Disk:
        free = 0
        written = 0

        def write(self):
            self.written += 1
            if self.free < 10:
                raise FULL
            return "done"

    made = Disk()
    monkeypatch.setattr(disk_space, "free_bytes", lambda folder: made.free)
    return made


def test_a_write_that_succeeds_is_called_once(disk, tmp_path):
    disk.free, said = 10, []
    assert DiskSpace(said.append).write(disk.write, "a file", tmp_path) == "done"
    assert (disk.written, said) == (1, [])


def test_it_waits_with_a_line_every_minute_and_goes_on_when_there_is_room(disk, tmp_path):
    clock, said = Clock({150: lambda: setattr(disk, "free", 20)}), []
    space = DiskSpace(said.append, sleep=clock.sleep, clock=clock)
    assert space.write(disk.write, "the checkpoint of step 8", tmp_path, 10) == "done"
    assert clock.now == 150  # at once, not at the next minute
    assert [line.partition(":")[0] for line in said] == [
        "paused", "paused for 1 min", "paused for 2 min", "there is room again for the checkpoint of step 8"
    ]  # fmt: skip
    assert (
        "the checkpoint of step 8 cannot be written: the disk or the quota is full; it takes about 0.0 MB"
        in said[0]
    )
    assert str(tmp_path) in said[0]


def test_it_does_not_try_again_while_the_room_is_too_small(disk, tmp_path):
    clock = Clock({5: lambda: setattr(disk, "free", 5), 50: lambda: setattr(disk, "free", 10)})
    DiskSpace(lambda _: None, sleep=clock.sleep, clock=clock).write(disk.write, "a file", tmp_path, 10)
    assert (disk.written, clock.now) == (2, 50)


def test_a_quota_that_shows_no_free_space_is_tried_every_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space, "free_bytes", lambda folder: 10**12)
    clock, calls = Clock(), []

    def write():
        calls.append(clock.now)
        if clock.now < 100:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    DiskSpace(lambda _: None, sleep=clock.sleep, clock=clock).write(write, "a file", tmp_path)
    assert calls == [0, 60, 120]


def test_a_signal_ends_the_pause_and_the_run(disk, tmp_path):
    signals, said = Signals(), []
    clock = Clock({7: lambda: setattr(signals, "received", signal.SIGTERM)})
    space = DiskSpace(said.append, signals=signals, sleep=clock.sleep, clock=clock)
    with pytest.raises(Interrupted) as stopped:
        space.write(disk.write, "the checkpoint of step 8", tmp_path)
    assert (stopped.value.number, clock.now) == (signal.SIGTERM, 7)
    assert said[-1] == "stopped while the disk was full: the checkpoint of step 8 is not written"


def test_a_checkpoint_that_a_signal_asked_for_is_waited_for(disk, tmp_path):
    signals = Signals()
    signals.received = signal.SIGINT
    clock = Clock({7: lambda: setattr(disk, "free", 10)})
    space = DiskSpace(lambda _: None, signals=signals, sleep=clock.sleep, clock=clock)
    assert space.write(disk.write, "a file", tmp_path) == "done"


def test_the_line_names_the_disk_that_is_full(tmp_path, monkeypatch):
    """A copy that fails names its source first."""
    full, said, calls = tmp_path / "full", [], []
    monkeypatch.setattr(disk_space, "free_bytes", lambda folder: 3_000_000 if folder == full else 10**12)

    def write():
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "", str(tmp_path / "a" / "x"), None, str(full / "x"))

    clock = Clock()
    DiskSpace(said.append, sleep=clock.sleep, clock=clock).write(write, "a file", tmp_path)
    assert f"a file cannot be written: the disk or the quota is full; 3.0 MB are free in {full}." in said[0]


def test_other_errors_pass(tmp_path):
    def write():
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        DiskSpace().write(write, "a file", tmp_path)


def test_every_process_waits_for_the_one_without_room(tmp_path, monkeypatch):
    monkeypatch.setattr(
        disk_space, "free_bytes", lambda folder: 0
    )  # else other programs give it room earlier

    def rank():
        here, tries, naps = processes(), [], []

        def write():
            tries.append(1)
            if here.main and len(tries) < 3:
                raise DiskFullError("no room")

        clock = Clock()
        space = DiskSpace(
            lambda _: None,
            agree=lambda said: any(here.gather(said)),
            sleep=lambda seconds: naps.append(1) or clock.sleep(seconds * 30),
            clock=clock,
        )
        space.write_together(write, "a file", tmp_path)
        return len(tries), len(naps)

    assert on_ranks(2, rank) == [(3, 4), (1, 4)]


def test_the_free_space_of_a_folder_to_be_made_is_that_of_its_parent(tmp_path):
    there = os.statvfs(tmp_path)
    assert disk_space.free_bytes(tmp_path / "a" / "b") == pytest.approx(
        there.f_bavail * there.f_frsize, rel=0.1
    )
