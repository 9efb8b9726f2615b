import errno
import os
import signal
import time
import weakref
from itertools import islice
from pathlib import Path

import pytest

from support.ranks import on_ranks
from ultra_train.data.errors import DataError
from ultra_train.data.streaming.maker import WindowMaker
from ultra_train.system.disk_space import DiskSpace


def _wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_windows_are_made_ahead_and_no_more_than_needed(make_stream):
    said = []
    stream = make_stream(num_workers=1, say=said.append)
    _wait(lambda: stream.folder.present() == [0, 1, 2])
    _wait(lambda: stream.wait_for(0) or any("peak memory" in line for line in said))
    stream.wait_for(1)
    _wait(lambda: 3 in stream.folder.present())
    assert 4 not in stream.folder.present()
    stream.wait_for(7)
    _wait(lambda: set(stream.folder.present()) >= {0, 1, 2, 7})
    assert stream.folder.last == 7


def test_a_stream_made_ahead_is_the_one_made_when_needed(make_loader):
    ahead, needed = make_loader("ahead", num_workers=2), make_loader("needed")
    for one, two in zip(islice(ahead, 25), islice(needed, 25), strict=True):
        assert one["input_ids"].equal(two["input_ids"])
        assert one["labels"].equal(two["labels"])


def test_faults_and_the_end_of_the_process_are_errors_of_the_run(make_stream, sources, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("\n".join(f"texto {n}" for n in range(100)) + "\na\0b\n")
    from ultra_train.data.sources.data_source import DataSource

    stream = make_stream("bad", sources=[DataSource(str(bad))], num_workers=1, window=40)
    _wait(lambda: not stream._ahead._process.is_alive())
    stream.wait_for(1)
    for _ in range(2):
        with pytest.raises(DataError, match=r"bad.txt:101: holds a zero byte"):
            stream.wait_for(2)
    stream = make_stream("killed", num_workers=1)
    os.kill(stream._ahead._process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="was killed, usually because memory ran out"):
        stream.wait_for(7)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_window_behind_the_last_one_is_not_waited_for(make_stream, num_workers):
    stream = make_stream(num_workers=num_workers)
    stream.wait_for(7)
    with pytest.raises(DataError, match="the texts end in window 7, but window 8 was there"):
        stream.wait_for(8)


def test_an_error_of_ours_in_the_process_is_not_taken_for_lack_of_memory(make_stream, monkeypatch, capfd):
    def fails(maker, number, make=WindowMaker.make):
        return make(maker, number) if number < 2 else 1 / 0

    monkeypatch.setattr(WindowMaker, "make", fails)
    stream = make_stream(num_workers=1)
    with pytest.raises(DataError, match="ended with an error, which is printed above"):
        stream.wait_for(2)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_full_disk_pauses_what_makes_windows_and_nothing_else(make_stream, monkeypatch):
    said, attempts = [], []
    stream = make_stream()
    seconds = iter(range(0, 10**6, 61))
    disk = DiskSpace(said.append, sleep=lambda _: None, clock=lambda: next(seconds))
    monkeypatch.setattr(stream._ahead._maker, "_disk", disk)

    def full_at_first(path, *args, write=Path.write_text):
        name = path.name.removesuffix(".tmp").lstrip(".").rpartition(".")[0]  # without what is random in it
        attempts.append(name)
        if attempts.count(name) <= 2 or name.startswith("used-"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, *args)

    monkeypatch.setattr(Path, "write_text", full_at_first)
    stream.wait_for(1)
    assert stream.folder.has(1)
    assert [attempts.count(name) for name in ("window-000001", "window-000001.json")] == [3, 3]
    assert sum(line.startswith("there is room again for tokenised texts") for line in said) == 2
    assert not list(stream.folder.directory.glob("used-1-*"))


def _whole(make_loader):
    return [batch["input_ids"].tolist() for batch in make_loader(processes=2)]


def test_two_processes_share_the_windows_of_one_folder(make_loader):
    one, two = on_ranks(2, _whole, make_loader, group=False)
    assert one == two == [batch["input_ids"].tolist() for batch in make_loader("alone")]


def test_closing_a_stream_closes_its_files_and_leaves_no_claim(make_stream):
    stream = make_stream()
    reader = weakref.ref(stream._ahead._maker._stream)
    stream.wait_for(1)
    assert reader() is not None
    stream.close()
    assert reader() is None
    assert not list(stream.folder.directory.glob("*.claim"))
