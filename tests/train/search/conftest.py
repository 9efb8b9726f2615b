import pytest

from support.given_vectors import DOCUMENTS, MANIFEST, Dense, Sparse
from ultra_train.search.building import build
from ultra_train.search.index import create_index
from ultra_train.search.milvus import Connection


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """The address of a server of milvus-lite on loopback."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path_factory.mktemp("server")))
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=0)
    database.close()


@pytest.fixture(scope="session", params=["local", "served"])
def index(request, tmp_path_factory):
    """An index of four documents, in a local file and on a server."""
    if request.param == "local":
        uri = str(tmp_path_factory.mktemp("local") / "four.db")
    else:
        uri = request.getfixturevalue("served")
    with Connection(uri) as connection:
        made, new = create_index(connection, MANIFEST)
        build(made, DOCUMENTS, {"dense": Dense(), "sparse": Sparse()}, empty=new)
        yield made
