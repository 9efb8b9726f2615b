from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import connection

import pytest
import torch

from ultra_core.errors import UltraError
from ultra_train.cli.app import LazyGroup, main
from ultra_train.run import dead_workers
from ultra_train.run.dead_workers import dead_workers_explained
from ultra_train.system.signals import Interrupted, Signals, shield_worker

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # handlers run between statements


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_run_at_once_unless_it_waits(number):
    def stop():
        with Signals():
            send(number)

    before = [signal.getsignal(n) for n in NUMBERS]
    with pytest.raises(Interrupted) as stopped:
        stop()
    assert stopped.value.number == number
    assert [signal.getsignal(n) for n in NUMBERS] == before
    with Signals() as signals:
        signals.deferred = True
        send(number)
        assert signals.received == number


def test_a_second_signal_ends_it_at_once_but_not_the_first_one_sent_twice(monkeypatch):
    """``timeout``, ``uv run`` and systemd signal both a process and its group."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def again():
        now[0] += 0.2
        send(signal.SIGTERM)

    with Signals() as signals:
        signals.deferred = True
        send(signal.SIGTERM)
        now[0] += 0.5
        send(signal.SIGTERM)
        send(signal.SIGINT)
        assert signals.received == signal.SIGTERM
        now[0] += 0.4
        with pytest.raises(Interrupted):
            again()


def test_a_signal_within_a_finaliser_is_not_lost(capfd):
    class Finalised:
        def __del__(self):
            send(signal.SIGTERM)

    def stop():
        with Signals():
            Finalised()
            time.sleep(10)
            raise AssertionError("it went on")

    before = sys.unraisablehook
    with pytest.raises(Interrupted):
        stop()
    assert sys.unraisablehook is before
    assert capfd.readouterr().err == ""


@forks
def test_nor_is_one_that_comes_around_a_fork():
    due = []
    os.register_at_fork(after_in_parent=lambda: due and send(due.pop()))

    def stop():
        with Signals():
            due.append(signal.SIGTERM)
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
            time.sleep(10)
            raise AssertionError("it went on")

    with pytest.raises(Interrupted):
        stop()


def test_an_error_that_follows_from_it_is_the_signal():
    """A signal also ends workers, whose death is an error; or it comes while a thread is started."""

    def fail(deferred):
        with Signals() as signals:
            signals.deferred = deferred
            try:
                send(signal.SIGTERM)
            finally:
                raise UltraError("a process was killed")

    with pytest.raises(Interrupted) as stopped:
        fail(deferred=False)
    assert stopped.value.number == signal.SIGTERM
    with pytest.raises(UltraError, match="a process was killed"):
        fail(deferred=True)  # a checkpoint is to be saved still, and that this failed must be said


def test_what_is_ignored_stays_ignored():
    """``nohup`` ignores SIGHUP for the process that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            send(signal.SIGHUP)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


@forks
def test_a_child_that_has_its_parents_handlers_leaves_signals_to_it():
    with Signals() as signals:
        child = os.fork()
        if not child:
            for number in NUMBERS:
                send(number)
            os._exit(0 if signals.received is None else 1)
        assert os.waitpid(child, 0)[1] == 0


@forks
def test_only_the_parent_ends_a_shielded_worker(capfd):
    ready, told = os.pipe()
    worker = os.fork()
    if not worker:
        shield_worker()
        for error in (ConnectionResetError(), EOFError(), BrokenPipeError(), ValueError("of the data")):
            sys.excepthook(type(error), error, None)
        os.write(told, b".")
        time.sleep(30)
        os._exit(1)
    os.read(ready, 1)
    stranger = os.fork()
    if not stranger:
        for number in NUMBERS:
            os.kill(worker, number)
        os._exit(0)
    os.waitpid(stranger, 0)
    time.sleep(0.1)
    assert os.waitpid(worker, os.WNOHANG) == (0, 0)
    os.kill(worker, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
    assert capfd.readouterr().err.splitlines() == ["ValueError: of the data"]  # it prints no others
    for pipe in (ready, told):
        os.close(pipe)


@pytest.mark.parametrize("said", ["", "interrupted by SIGTERM: stopped after update 3 of 12"])
@pytest.mark.parametrize("number", NUMBERS)
def test_the_exit_code_says_which_signal_and_no_line_is_doubled(monkeypatch, capsys, number, said):
    def stop(self, ctx):
        raise Interrupted(said, number)

    monkeypatch.setattr(LazyGroup.__base__, "invoke", stop)
    assert main(["list"]) == 128 + number
    line = f"interrupted by {signal.Signals(number).name} at once"
    assert capsys.readouterr().err.count(line) == (not said)


def test_a_keyboard_interrupt_of_python_counts_as_sigint(monkeypatch, capsys):
    def stop(self, ctx):
        raise KeyboardInterrupt

    monkeypatch.setattr(LazyGroup.__base__, "invoke", stop)
    assert main(["list"]) == 130
    assert "interrupted by SIGINT at once" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid 123) is killed by signal: Killed. ",
        "DataLoader worker (pid(s) 123, 124) exited unexpectedly",
    ],
)
def test_the_death_of_a_worker_is_explained(tmp_path, said):
    def train(message):
        with dead_workers_explained(tmp_path):
            raise RuntimeError(message)

    with pytest.raises(UltraError, match=r"memory ran out.*dataloader_workers.*its beginning with --resume"):
        train(said)
    (tmp_path / "checkpoint-8").mkdir()
    with pytest.raises(UltraError, match="can be resumed from checkpoint-8 with --resume"):
        train(said)
    with pytest.raises(RuntimeError, match="something else"):
        train("something else")


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError, FileNotFoundError])
def test_so_is_the_loss_of_the_connection_to_it(tmp_path, monkeypatch, error):
    """What a killed worker was to hand over is an error of the pipe, before torch knows that it is dead."""

    class Batches(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.ones(2)

    def lost(*args, **kwargs):
        raise error

    def train(workers):
        with dead_workers_explained(tmp_path):
            list(torch.utils.data.DataLoader(Batches(), num_workers=workers))

    monkeypatch.setattr(dead_workers.time, "sleep", lambda seconds: None)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "answer_challenge", lost)
        with pytest.raises(UltraError, match=f"ended .{error.__name__}.*memory ran out"):
            train(1)
    monkeypatch.setattr(Batches, "__getitem__", lost)
    with pytest.raises(error):
        train(0)  # an error of the data themselves
