"""Connections to Milvus: a local file, served by milvus-lite in this process, or a server."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ultra_train.search.errors import SearchError, require_milvus
from ultra_train.system.files import expand_user

DEFAULT_URI = "index.db"
DEFAULT_PORT = 19530
SUFFIX = ".db"
"""End of the name of a local index; by it pymilvus tells one from a server."""

_RARE_PINGS = {"grpc.keepalive_time_ms": 360_000}
"""A gRPC server such as that of milvus-lite closes connections that ping it more than every five minutes;
pymilvus would do so every ten seconds while a batch of documents is encoded."""

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""Longest time to wait for a connection, and for the answer to a request."""


def is_local(uri: str) -> bool:
    """Whether a URI is the path of a local index rather than the address of a server."""
    return "://" not in uri


def check_uri(uri: str, *, exists: bool) -> None:
    """Check a URI, without opening the index.

    Args:
        uri: path of a local index, or address of a server.
        exists: whether a local index must exist.

    Raises:
        SearchError: it is neither, the local index is missing, or is no index of milvus-lite 3.
    """
    if not is_local(uri):
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
            raise SearchError(f"{uri}: is no address of a Milvus server; write http://host:{DEFAULT_PORT}")
        return
    path = expand_user(uri)
    if path.suffix != SUFFIX:
        raise SearchError(
            f"{uri}: the name of a local index ends in {SUFFIX}; the address of a server is "
            f"http://host:{DEFAULT_PORT}"
        )
    if path.is_file():
        raise SearchError(f"{uri}: is a file, but an index of milvus-lite 3 is a folder; choose another name")
    if exists and not path.is_dir():
        raise SearchError(
            f"{uri}: there is no such index. Build it with: ultra-train index DOCUMENTS --to {uri}"
        )


class Connection:
    """An open connection; use it as a context manager.

    Args:
        uri: path of a local index, which is created if it does not exist, or address of a server.
        token: ``user:password`` or an API key of a server; by default ``MILVUS_TOKEN`` of the environment.

    Attributes:
        client: the client of ``pymilvus``.

    Raises:
        SearchError: pymilvus is not installed, the server does not answer, or another process has opened the
            local index.
    """

    def __init__(self, uri: str, token: str | None = None) -> None:
        self.uri, self.embedded = uri, is_local(uri)
        require_milvus(embedded=self.embedded)
        if self.embedded:
            path = expand_user(uri).absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client = _open_local(path, uri)
        else:
            _check_reachable(uri)
            self.client = _client(uri, uri, token or os.environ.get("MILVUS_TOKEN", ""))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a local index is written to its files and released."""
        self.client.close()
        if self.embedded:
            from milvus_lite import server_manager_instance

            server_manager_instance.release_server(str(expand_user(self.uri).absolute()))

    def has(self, collection: str) -> bool:
        """Whether there is a collection of this name."""
        with self.errors():
            return bool(self.client.has_collection(collection, timeout=ANSWER_SECONDS))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of Milvus into errors of one line."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise SearchError(f"{self.uri}: {_first_line(error.message)}") from error


def _client(address: str, uri: str, token: str = "") -> Any:
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # its errors are raised and logged
    try:
        return MilvusClient(address, token=token, timeout=CONNECT_SECONDS, grpc_options=_RARE_PINGS)
    except MilvusException as error:
        raise SearchError(f"{uri}: cannot be opened ({_first_line(error.message)})") from error


def _open_local(path: Path, uri: str) -> Any:
    """Return the client of a local index; milvus-lite only logs why it cannot open one."""
    reasons = _Reasons()
    logger = logging.getLogger("milvus_lite")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(reasons)
    try:
        return _client(str(path), uri)
    except SearchError as error:
        raise SearchError(f"{uri}: cannot be opened ({reasons.last or error})") from error
    finally:
        logger.removeHandler(reasons)
        logger.propagate = propagates


class _Reasons(logging.Handler):
    """Keeps the last exception that was logged."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.last = _first_line(str(record.exc_info[1]))


def _check_reachable(uri: str) -> None:
    """Connect to a server once, since gRPC would retry a refused connection until the time is up."""
    parts = urlsplit(uri)
    try:
        with socket.create_connection((parts.hostname, parts.port or DEFAULT_PORT), CONNECT_SECONDS):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SearchError(
            f"{uri}: cannot be reached ({reason}). Start a Milvus server there, or leave out the address "
            f"for a local index ({DEFAULT_URI})"
        ) from error


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
