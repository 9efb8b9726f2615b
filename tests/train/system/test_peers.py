"""The watch of processes over each other, and joining them."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from support.ranks import on_ranks
from ultra_core.errors import UltraError
from ultra_train.system import peers
from ultra_train.system.peers import Fault, PeerFailed, Peers
from ultra_train.system.process_group import join, speaks_for_all
from ultra_train.system.processes import Processes, processes

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def _reports() -> tuple[Fault | None, bool]:
    """The second of three processes fails; all return what they know, and whether they would print it."""
    group = join(processes())
    try:
        with group.failing_together():
            if group.here.rank == 1:
                raise UltraError("no data here")
            group.peers.wait_for_fault(20)
            raise PeerFailed(group.peers.fault)
    except UltraError as error:
        return group.peers.fault, speaks_for_all(error)


def test_all_learn_why_one_fails_and_one_prints_it():
    fault = Fault(1, "no data here")
    assert str(fault) == "process 1 stopped: no data here"
    assert on_ranks(3, _reports, group=False) == [(fault, True), (None, False), (fault, False)]


def _dies(victim: int, late: int | None) -> tuple[Fault | None, bool] | None:
    if processes().rank == late:
        connect = peers.connect
        peers.connect = lambda *args, **kwargs: (time.sleep(0.5), connect(*args, **kwargs))[1]
    group = join(processes())
    if group.here.rank == victim:
        return None  # and its process ends without a word
    fault = group.peers.wait_for_fault(20)
    return fault, speaks_for_all(PeerFailed(fault))


@pytest.mark.parametrize(("victim", "late"), [(0, None), (2, None), (2, 1)])
def test_a_process_that_ends_without_a_word_is_noticed(victim, late):
    """Also by one that comes only after that."""
    found = on_ranks(3, _dies, victim, late, group=False)
    assert found.pop(victim) is None
    assert [fault for fault, _ in found] == [Fault(victim)] * 2
    assert [prints for _, prints in found] == [True, False]


def _leaves(leaver: int) -> Fault | None:
    group = join(processes())
    if group.here.rank == leaver:
        group.peers.close()
        return None  # and its process ends
    return group.peers.wait_for_fault(0.2)


@pytest.mark.parametrize("leaver", [0, 1])
def test_a_process_that_takes_its_leave_has_not_failed(leaver):
    assert on_ranks(2, _leaves, leaver, group=False) == [None, None]


@pytest.mark.parametrize(
    ("fault", "code", "speaker"),
    [
        (Fault(2), 2, 0),
        (Fault(0), 2, 1),
        (Fault(0, "no data here"), 2, None),  # which process 0 has printed
        (Fault(2, "interrupted by SIGTERM at once", 15), 143, 0),
    ],
)
def test_after_the_grace_period_all_end_and_one_prints_why(monkeypatch, capsys, fault, code, speaker):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    for rank in {0, 1, 2} - {fault.rank}:
        watch = Peers(Processes(rank, 3, rank, 3))
        with watch.watching():
            watch.fault = fault
            watch._give_up()
        assert ended.pop() == code
        said = capsys.readouterr().err
        assert said == (f"error: {fault}\n" if rank == speaker else "")
        watch._give_up()  # the run of this process is over
        assert not ended


def test_strangers_are_not_listened_to(monkeypatch):
    """Neither one that speaks another language, nor one without the token."""
    monkeypatch.setattr(peers, "CONNECTING", 1.0)
    strangers = []

    def publish(text: str) -> None:
        port, _ = json.loads(text)
        for words in (
            b"GET / HTTP/1.1\r\n\r\n",
            b'{"rank": 1, "token": "guessed"}\n{"fault": {"rank": 1}}\n',
        ):
            strangers.append(socket.create_connection(("127.0.0.1", port)))
            strangers[-1].sendall(words)

    with pytest.raises(UltraError, match=r"the processes \[1\] of 2 have not started"):
        peers.connect(Processes(0, 2, 0, 2), publish=publish, read=str, address="127.0.0.1")
    for stranger in strangers:
        stranger.close()


def test_a_launcher_that_does_not_say_where_is_refused(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UltraError, match="describes 2 processes, but MASTER_ADDR is not set"):
        join(Processes(0, 2, 0, 2))
    assert "MASTER_ADDR" not in os.environ
