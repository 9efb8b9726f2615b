import attrs
import pytest

from ultra_train.search.errors import SearchError
from ultra_train.search.manifest import EncoderRecord, IndexManifest

DENSE = EncoderRecord(kind="dense", model="a", fingerprint="f1", dimension=16, similarity="cosine")
SPARSE = EncoderRecord(kind="sparse", model="s", fingerprint="f2", dimension=99, similarity="dot")
BOTH = IndexManifest(dense=DENSE, sparse=SPARSE, bm25=True)


def test_a_manifest_survives_json():
    assert IndexManifest.from_json(BOTH.to_json(), "x.db") == BOTH
    assert BOTH.retrievers == ("dense", "sparse", "bm25")
    assert IndexManifest(bm25=True).retrievers == ("bm25",)


def test_a_model_that_was_moved_is_the_same():
    BOTH.check_same(attrs.evolve(BOTH, dense=attrs.evolve(DENSE, model="elsewhere")), "x.db")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            attrs.evolve(BOTH, dense=attrs.evolve(DENSE, model="b", fingerprint="f9")),
            "another dense model: a had the fingerprint f1, and b has f9",
        ),
        (
            attrs.evolve(BOTH, dense=attrs.evolve(DENSE, dimension=8, truncate_dim=8)),
            r"vectors of 16 dimensions \(cosine\), not of 8",
        ),
        (attrs.evolve(BOTH, sparse=None), "has sparse vectors of s, but no such model is given"),
        (attrs.evolve(BOTH, bm25=False), "was built with --bm25"),
    ],
)
def test_other_models_are_refused(other, message):
    with pytest.raises(SearchError, match=message):
        BOTH.check_same(other, "x.db")


@pytest.mark.parametrize(
    ("text", "message"),
    [("nonsense", "cannot be read"), ('{"format": 1}', "cannot be read"),
     (BOTH.to_json().replace('"format": 1', '"format": 2'), "version 2, not 1")],
)  # fmt: skip
def test_a_foreign_description_is_an_error(text, message):
    with pytest.raises(SearchError, match=message):
        IndexManifest.from_json(text, "x.db")
