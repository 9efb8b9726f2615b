import attrs
import pytest

from support.given_vectors import DOCUMENTS, MANIFEST, Dense, Sparse, letters
from ultra_train.search.errors import SearchError
from ultra_train.search.index import create_index, cut_bytes, open_index
from ultra_train.search.sparse_vectors import SparseVector


def test_every_retriever_finds_what_its_vectors_say(index):
    text = DOCUMENTS[1].searched
    same_length = [document.id for document in DOCUMENTS if Dense()(document.searched) == Dense()(text)]
    found = index.nearest("dense", Dense()(text), 4)
    assert {name for name, score in found if score == pytest.approx(1)} == set(same_length)
    overlaps = {each.id: len(letters(text) & letters(each.searched)) for each in DOCUMENTS}
    assert dict(index.nearest("sparse", Sparse()(text), 4)) == pytest.approx(overlaps)
    words = index.nearest("bm25", "puerta garaje", 4)
    assert [name for name, _ in words] == ['say "x"']
    assert words[0][1] > 0


def test_texts_and_contents_are_found_by_ids_with_any_characters(index):
    ids = [document.id for document in DOCUMENTS]
    assert index.contents([*ids, "unknown"]) == {each.id: each.content for each in DOCUMENTS}
    assert index.texts(ids[:1]) == {"a'b": ("Luz", "Luz enciende la luz del jardín")}
    assert index.texts([]) == {}
    assert index.count() == 4


def test_a_sparse_query_without_active_dimensions_finds_nothing(index):
    assert index.nearest("sparse", SparseVector.of({}), 3) == []
    assert index.nearest("sparse", SparseVector.of({1: -1.0}), 3) == []


def test_more_results_than_milvus_returns_are_an_error(index):
    with pytest.raises(SearchError, match="20,000 results are more than the 16,384"):
        index.nearest("bm25", "luz", 20_000)


def test_an_index_is_opened_with_what_it_was_built_by(index):
    again, new = create_index(index.connection, MANIFEST)
    assert not new
    assert again.manifest == open_index(index.connection).manifest == MANIFEST
    assert again.is_complete
    with pytest.raises(SearchError, match="built with another dense model"):
        create_index(
            index.connection, attrs.evolve(MANIFEST, dense=attrs.evolve(MANIFEST.dense, fingerprint="f9"))
        )


def test_a_missing_collection_is_an_error_that_names_those_there(index):
    with pytest.raises(SearchError, match=r"no collection 'document'. Did you mean 'documents'\?"):
        open_index(index.connection, "document")


def test_a_foreign_collection_is_refused(index):
    client = index.connection.client
    client.create_collection("foreign", dimension=4)
    with pytest.raises(SearchError, match="'foreign' was not built by ultra-train index"):
        open_index(index.connection, "foreign")
    client.drop_collection("foreign")


def test_errors_of_milvus_are_one_line(index):
    with pytest.raises(SearchError) as error:
        index.nearest("dense", [1.0] * 3, 2)
    assert "\n" not in str(error.value)


def test_texts_are_cut_at_whole_characters():
    assert cut_bytes("añb", 2) == "a"
    assert cut_bytes("añb", 3) == "añ"
    assert cut_bytes("añb", 4) == "añb"
