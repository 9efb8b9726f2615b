"""The watch of the processes of a run over each other: none waits for ever for one that has died.

Every process keeps a connection to process 0. The system closes it when a process ends, however it ends, and
TCP keep-alive notices a machine that is gone. A process that fails says why before. Process 0 tells the
others; each then has a grace period to end by itself, since a process that waits in a collective operation of
a GPU cannot be interrupted.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from ultra_core.errors import UltraError
from ultra_train.system.processes import Processes

GRACE = 30.0
"""Seconds that a process has to end by itself once another one has failed."""
CONNECTING = 600.0
"""Seconds within which all processes must have started."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


@attrs.frozen
class Fault:
    """Why a process ended before the run did.

    Attributes:
        rank: the process.
        reason: what it said; None when it ended without a word.
        signal: the signal that stopped it, or None.
    """

    rank: int
    reason: str | None = None
    signal: int | None = None

    @property
    def silent(self) -> bool:
        """Whether the process could not say anything."""
        return self.reason is None

    def __str__(self) -> str:
        if self.reason is not None:
            return f"process {self.rank} stopped: {self.reason}"
        return (
            f"process {self.rank} ended without a word, as when the system kills it because memory ran out, "
            "or when its machine is gone"
        )


class PeerFailed(UltraError):
    """Another process of the run failed, so this one cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Peers:
    """The connections of this process; :func:`connect` makes them.

    Attributes:
        fault: what ended the run of another process; None as long as all are well.
    """

    def __init__(self, here: Processes) -> None:
        self.here = here
        self.fault: Fault | None = None
        self._learned = threading.Event()
        self._armed = False
        self._links: dict[int, socket.socket] = {}
        self._met: set[int] = set()
        self._complete = threading.Event()
        os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """End this process when another one fails inside the block, after the grace period at the latest."""
        self._armed = True
        if self.fault is not None:
            raise PeerFailed(self.fault)
        try:
            yield
        finally:
            self._armed = False

    def wait_for_fault(self, seconds: float) -> Fault | None:
        """Return why another process failed, which may take a moment to be known; None if none did."""
        self._learned.wait(seconds)
        return self.fault

    def report(self, reason: str, signal: int | None = None) -> None:
        """Tell all processes why this one ends."""
        self._spread(Fault(self.here.rank, reason, signal))

    def close(self) -> None:
        """Leave the run; the others do not take it for a failure."""
        for link in self._links.values():
            _send(link, {"bye": True})

    # -- process 0 --------------------------------------------------------------------------------------

    def serve(self, listening: socket.socket, token: str) -> None:
        """Start to listen to the others, and wait until all have come.

        Raises:
            UltraError: one has not come.
        """
        threading.Thread(target=self._serve, args=(listening, token), daemon=True).start()
        deadline = time.monotonic() + CONNECTING
        while not self._complete.wait(0.2):  # short, so that signals are handled
            if time.monotonic() > deadline:
                missing = sorted({*range(1, self.here.count)} - self._met)
                raise UltraError(
                    f"the processes {missing} of {self.here.count} have not started within "
                    f"{CONNECTING:.0f} s; look at the output of their machines"
                )

    def _serve(self, listening: socket.socket, token: str) -> None:
        waiting = selectors.DefaultSelector()
        waiting.register(listening, selectors.EVENT_READ)
        lines: dict[socket.socket, _Lines] = {}
        while True:
            for key, _ in waiting.select():
                link: Any = key.fileobj
                if link is listening:
                    link, _ = listening.accept()
                    _keep_alive(link)
                    waiting.register(link, selectors.EVENT_READ)
                    lines[link] = _Lines(link)
                    continue
                for message in lines[link].read():
                    if self._heard(link, message, token):
                        waiting.unregister(link)
                        link.close()
                        break
            if self._complete.is_set() and listening.fileno() >= 0:
                waiting.unregister(listening)  # nobody else is expected
                listening.close()

    def _heard(self, link: socket.socket, message: Any, token: str) -> bool:
        """Act on a message of another process, None being the end of its connection; True if that is over."""
        rank = next((r for r, known in self._links.items() if known is link), None)
        if message is None or rank is None:
            if message is not None and message.get("token") == token:
                self._meet(int(message["rank"]), link)
                return False
            if rank is not None:
                del self._links[rank]
                self._spread(Fault(rank))
            return True
        if "bye" in message:
            del self._links[rank]
            return True
        self._spread(Fault(**message["fault"]))
        return False

    def _meet(self, rank: int, link: socket.socket) -> None:
        """Enter a process that has come, and tell it if another one has come and failed already."""
        self._links[rank] = link
        self._met.add(rank)
        if self.fault is not None:
            _send(link, {"fault": attrs.asdict(self.fault)})
        if len(self._met) == self.here.count - 1:
            self._complete.set()

    # -- the others -------------------------------------------------------------------------------------

    def follow(self, link: socket.socket, token: str) -> None:
        """Start to listen to process 0."""
        _keep_alive(link)
        self._links[0] = link
        _send(link, {"rank": self.here.rank, "token": token})
        threading.Thread(target=self._follow, args=(link,), daemon=True).start()

    def _follow(self, link: socket.socket) -> None:
        lines = _Lines(link)
        while True:
            for message in lines.read():
                if message is None:
                    self._learn(Fault(0))
                if message is None or "bye" in message:
                    return
                self._learn(Fault(**message["fault"]))

    # -- all --------------------------------------------------------------------------------------------

    def _spread(self, fault: Fault) -> None:
        for rank, link in list(self._links.items()):
            if rank != fault.rank:
                _send(link, {"fault": attrs.asdict(fault)})
        self._learn(fault)

    def _learn(self, fault: Fault) -> None:
        """Note the first failure of another process, and start the grace period."""
        if self.fault is not None or fault.rank == self.here.rank:
            return
        self.fault = fault
        self._learned.set()
        timer = threading.Timer(GRACE, self._give_up)
        timer.daemon = True
        timer.start()

    def _give_up(self) -> None:
        fault = self.fault
        if not self._armed or fault is None:
            return
        speaker = 1 if fault.rank == 0 and fault.silent else 0
        if self.here.rank == speaker:
            print(f"error: {fault}", file=sys.stderr, flush=True)
        os._exit(2 if fault.signal is None else 128 + fault.signal)

    def _forget(self) -> None:
        """Close the connections in a forked child, which would hold them after the death of its parent."""
        for link in self._links.values():
            with suppress(OSError):
                link.close()
        self._links.clear()


def connect(
    here: Processes, *, publish: Callable[[str], None], read: Callable[[], str], address: str
) -> Peers:
    """Connect this process with the others of its run.

    Args:
        here: this process.
        publish: gives a text to all processes; process 0 calls it.
        read: waits for that text.
        address: where the machine of process 0 can be reached.

    Raises:
        UltraError: a process has not come, or process 0 cannot be reached.
    """
    peers = Peers(here)
    if here.main:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        listening = socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=here.count)
        token = secrets.token_hex(16)
        publish(json.dumps([listening.getsockname()[1], token]))
        peers.serve(listening, token)
        return peers
    port, token = json.loads(read())
    try:
        link = socket.create_connection((address, port), timeout=60)
    except OSError as error:
        raise UltraError(
            f"process {here.rank} cannot reach process 0 at {address}, port {port} ({error}); the machines "
            "of a run must be able to connect to each other on any port"
        ) from error
    link.settimeout(None)
    peers.follow(link, token)
    return peers


class _Lines:
    """Reads messages, one JSON object a line, from a connection."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.rest = b""

    def read(self) -> list[Any]:
        """Wait for data and return the complete messages; the last is None when the connection ended."""
        try:
            data = self.link.recv(65536)
        except OSError:
            data = b""
        *lines, self.rest = (self.rest + data).split(b"\n")
        messages: list[Any] = []
        for line in lines:
            with suppress(ValueError):  # somebody else who has found the port
                message = json.loads(line)
                messages += [message] if isinstance(message, dict) else []
        return messages if data else [*messages, None]


def _send(link: socket.socket, message: Any) -> None:
    with suppress(OSError):  # its end is noticed by the thread that reads
        link.sendall(json.dumps(message).encode() + b"\n")


def _keep_alive(link: socket.socket) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
