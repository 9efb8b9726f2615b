import re
import socket

import pytest

from ultra_train.search.errors import SearchError, require_milvus
from ultra_train.search.milvus import Connection, check_uri


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host", "is no address of a Milvus server; write http://host:19530"),
        ("index", "the name of a local index ends in .db"),
        ("missing.db", "there is no such index. Build it with: ultra-train index"),
    ],
)
def test_uris_that_are_no_index_are_refused(uri, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=re.escape(message)):
        check_uri(uri, exists=True)


def test_a_file_in_place_of_the_index_is_left_alone(tmp_path):
    path = tmp_path / "old.db"
    path.write_text("mine")
    with pytest.raises(SearchError, match="is a file, but an index of milvus-lite 3 is a folder"):
        check_uri(str(path), exists=False)
    assert path.read_text() == "mine"


def test_a_server_that_is_not_there_is_an_error_of_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SearchError, match=rf"127.0.0.1:{port}: cannot be reached \(Connection refused\)"):
        Connection(f"http://127.0.0.1:{port}")


def test_an_index_that_another_connection_has_opened_says_so(tmp_path):
    from milvus_lite import MilvusLite

    path = tmp_path / "busy.db"
    database = MilvusLite(str(path))
    with pytest.raises(SearchError, match=r"cannot be opened .*another process holds the lock"):
        Connection(str(path))
    database.close()
    Connection(str(path)).close()


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("ultra_train.search.errors.find_spec", lambda name: None)
    with pytest.raises(SearchError, match=re.escape('pip install "ultra-train[search]"')):
        require_milvus(embedded=True)
