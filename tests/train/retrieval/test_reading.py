from __future__ import annotations

import gzip
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.collections import DOCUMENTS, QUERIES, write_collection
from ultra_train.data.errors import DataError
from ultra_train.retrieval.reading import is_collection, read_collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_collection(tmp_path / "casa")


def test_documents_have_their_titles_and_judgements_their_numbers(folder: Path) -> None:
    collection = read_collection(str(folder), ["test"], ["dev", "other"])
    assert collection.name == "casa"
    assert collection.document_ids == list(DOCUMENTS)
    assert collection.documents[0] == "Puertas Cómo se abre la puerta del garaje."
    assert collection.documents[3].startswith("Las persianas")
    assert list(collection.qrels) == ["test", "dev"]
    assert collection.judged("test") == ["poner música", "bajar una persiana"]
    assert [dict(found) for found in collection.qrels["test"].relevant] == [{2: 1}, {4: 2, 3: 1}]
    assert collection.qrels["test"].documents == {2, 3, 4}


def test_archives_and_gzipped_files_are_read_alike(folder: Path, tmp_path: Path) -> None:
    plain = read_collection(str(folder))
    for name in ("corpus.jsonl", "qrels/test.tsv"):
        path = folder / name
        with path.open("rb") as source, gzip.open(folder / f"{name}.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        path.unlink()
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(folder, "some/where")
    packed = read_collection(str(tmp_path / "packed.tar.gz"))
    assert packed.documents == plain.documents
    assert packed.qrels["test"].relevant == plain.qrels["test"].relevant
    assert packed.name == "packed"


def test_documents_that_answer_with_grade_zero_do_not_answer(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t0\nq3\td4\t1\n")
    assert read_collection(str(folder)).judged("test") == ["bajar una persiana"]


def test_a_document_without_text_is_a_notice(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d9", "title": " ", "text": null}\n')
    (notice,) = read_collection(str(folder)).notices
    assert "1 document without title and text: 'd9'" in notice
    assert "corpus.jsonl:7" in notice


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "queries.jsonl",
            '{"qid": 1, "query": "a"}\n',
            "queries.jsonl:1: has the columns qid, query, but",
        ),
        ("queries.jsonl", "q1\tabrir\n", "queries.jsonl:1: is not JSON"),
        ("corpus.jsonl", '{"_id": "a", "text": ["b"]}\n', "corpus.jsonl:1: 'text' holds list"),
        ("corpus.jsonl", '{"_id": "", "text": "b"}\n', "corpus.jsonl:1: '_id' is empty"),
        ("corpus.jsonl", "\n", "holds no document"),
        (
            "qrels/test.tsv",
            "q2 0 d2 1\nq3 0 d4 1\n",
            "must name the columns query-id, corpus-id, score",
        ),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq2\td2\tgood\n", "test.tsv:2: the score is 'good'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq2\td2\t0.5\n", "test.tsv:2: the score is '0.5'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq2\td2\t0\n", "no query of the split 'test'"),
        (
            "qrels/test.tsv",
            "query-id\tcorpus-id\tscore\nq2\td2\t1\nq77\td2\t1\nq2\td88\t1\n",
            "2 of 3 judgements of the split 'test' name a query or document that does not exist: query 'q77'",
        ),
    ],
)
def test_faults_name_file_and_line(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError) as error:
        read_collection(str(folder))
    assert said in str(error.value)


def test_ids_that_occur_twice_are_shown_with_both_places(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d1", "text": "otra vez"}\n')
    with pytest.raises(DataError, match=r"1 document with the id .*'d1' \(.*jsonl:2 and .*jsonl:7\)"):
        read_collection(str(folder))


def test_a_judged_query_without_text_is_an_error(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c", queries={**QUERIES, "q3": " "})
    with pytest.raises(DataError, match=r"1 judged query without text: 'q3' \(.*queries.jsonl:4\)"):
        read_collection(str(folder))


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no qrels/tset.tsv; there are dev, test, train. Did you mean"):
        read_collection(str(folder), ["tset"])
    with pytest.raises(DataError, match="there is no such folder or archive"):
        read_collection(str(tmp_path / "nowhere"))
    (folder / "queries.jsonl").rename(folder / "queries.tsv")
    with pytest.raises(DataError, match=r"has no queries.jsonl; .* here are corpus.jsonl, qrels, queries"):
        read_collection(str(folder))
    assert is_collection(str(folder))
    (folder / "corpus.jsonl").unlink()
    assert not is_collection(str(folder))


def test_errors_within_an_archive_name_the_archive(folder: Path, tmp_path: Path) -> None:
    (folder / "queries.jsonl").write_text("[]\n")
    packed = tmp_path / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(folder, "casa")
    with pytest.raises(DataError) as error:
        read_collection(str(packed))
    assert str(error.value).startswith(f"{packed}/queries.jsonl:1: holds a JSON list")
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(DataError, match="is no whole archive"):
        read_collection(str(packed))


def test_nanobeir_needs_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as error:
        read_collection("nanobeir:msmarco")
    assert "cannot be reached" in str(error.value)
    assert "or give a folder with corpus.jsonl" in str(error.value)
    with pytest.raises(DataError, match="Did you mean 'msmarco'"):
        read_collection("nanobeir:msmarko")
    with pytest.raises(DataError, match="has only the split 'test'"):
        read_collection("nanobeir:msmarco", ["dev"])


def test_mteb_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(DataError, match=r'pip install "ultra-train\[mteb\]"'):
        read_collection("mteb:NFCorpus")


def test_only_the_data_of_an_mteb_task_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    split = {
        "corpus": [{"id": "d0", "title": "A", "text": "b"}, {"id": "d1", "text": "c"}],
        "queries": [{"id": "q0", "text": "a"}],
        "relevant_docs": {"q0": {"d1": 1, "d0": 0}},
    }
    task = SimpleNamespace(
        metadata=SimpleNamespace(type="Retrieval"),
        dataset={"es": {"test": split}, "en": {"test": split}},
        load_data=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "mteb", SimpleNamespace(get_task=lambda name, hf_subsets: task))
    collection = read_collection("mteb:Task/es")
    assert collection.documents == ["A b", "c"]
    assert [dict(found) for found in collection.qrels["test"].relevant] == [{1: 1}]
    with pytest.raises(DataError, match="has the subsets es, en; name one"):
        read_collection("mteb:Task")
    with pytest.raises(DataError, match="has no split 'dev'; there are test"):
        read_collection("mteb:Task/es", ["dev"])
    task.metadata.type = "STS"
    with pytest.raises(DataError, match="of the kind STS"):
        read_collection("mteb:Task/es")
