import subprocess
import sys
from pathlib import Path

import attrs

from support.given_vectors import MANIFEST, Dense, Sparse, build_until, documents
from ultra_train.search.building import build
from ultra_train.search.documents import Document
from ultra_train.search.index import create_index, open_index
from ultra_train.search.milvus import Connection

TESTS = Path(__file__).parents[2]


def test_a_building_that_was_killed_goes_on_without_doubled_or_lost_documents(tmp_path):
    path = tmp_path / "killed.db"
    code = f"from support.given_vectors import *; build_until(Path({str(path)!r}), 60, die_at=35)"
    killed = subprocess.run([sys.executable, "-c", code], cwd=TESTS, check=False)
    assert killed.returncode == -9
    with Connection(str(path)) as connection:
        index = open_index(connection)
        assert not index.is_complete
        assert index.count() == 30
    assert build_until(path, 60, die_at=None).encoded == [each.text for each in documents(60)[30:]]
    with Connection(str(path)) as connection:
        index = open_index(connection)
        assert index.is_complete
        assert index.count() == 60
        found = index.contents([f"d{number}" for number in range(60)])
        assert found == {each.id: each.content for each in documents(60)}


def test_only_new_and_changed_documents_are_encoded(served):
    given = [*documents(3)[:2], Document("d2", "", "otro texto"), Document("d3", "", "nuevo")]
    with Connection(served) as connection:
        index, new = create_index(connection, MANIFEST, "changing")
        build(index, documents(3), {"dense": Dense(), "sparse": Sparse()}, empty=new)
        dense, seen = Dense(), []
        counts = build(
            index,
            given,
            {"dense": dense, "sparse": Sparse()},
            empty=False,
            report=lambda counts: seen.append(counts.read),
        )
        assert attrs.asdict(counts) == {"added": 1, "replaced": 1, "unchanged": 2}
        assert dense.encoded == ["nuevo", "otro texto"]
        assert seen == [4]
        assert index.count() == 4
        assert index.texts(["d2"])["d2"].text == "otro texto"
        assert [name for name, _ in index.nearest("bm25", "otro", 5)] == ["d2"]
