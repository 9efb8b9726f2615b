"""``index`` and ``search`` from one end to the other, by words, which need no model."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ultra_train.cli.app import cli

ROWS = [
    {"_id": "d1", "title": "Puertas", "text": "abre la puerta del garaje"},
    {"_id": "d2", "title": "", "text": "enciende la luz del jardín"},
    {"_id": "d3", "title": "", "text": " "},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    corpus, uri = write(folder / "corpus.jsonl", ROWS), str(folder / "index.db")
    result = CliRunner().invoke(cli, ["index", corpus, "--bm25", "--to", uri])
    assert result.exit_code == 0, result.output
    return corpus, uri, result.output


def test_index_tells_what_it_did(built):
    _, uri, output = built
    lines = output.splitlines()
    assert lines[0] == f"{uri}: 2 documents added, 0 replaced, 0 unchanged; 2 in the index"
    assert "documents a second, peak memory" in lines[1]
    assert lines[2] == "left out: 1 empty"


def test_search_shows_ranks_scores_titles_and_snippets(built, ultra):
    result = ultra("search", "la puerta del garaje", "--index", built[1], "-k", "1")
    first, second = result.output.splitlines()
    assert first.startswith("  1  ")
    assert first.endswith("  d1  Puertas")
    assert second == "     abre la puerta del garaje"


def test_search_reads_many_queries_and_prints_json(built):
    result = CliRunner().invoke(cli, ["search", "-", "--index", built[1], "--json"], input="luz\n\nnada\n")
    one, two = (json.loads(line) for line in result.output.splitlines())
    assert (one["query"], [hit["id"] for hit in one["results"]]) == ("luz", ["d2"])
    assert two == {"query": "nada", "results": []}


def test_a_second_index_only_adds_what_is_new(built, ultra, tmp_path):
    more = write(tmp_path / "more.jsonl", [{"id": "d9", "text": "cierra la ventana"}])
    uri = str(tmp_path / "index.db")
    assert ultra("index", built[0], "--bm25", "--to", uri).exit_code == 0
    assert (
        "0 documents added, 0 replaced, 2 unchanged; 2 in"
        in ultra("index", built[0], "--bm25", "--to", uri).output
    )
    output = ultra("index", more, "--bm25", "--to", uri).output
    assert "1 documents added, 0 replaced, 0 unchanged; 3 in the index" in output
    assert output.endswith("2 documents of the index are not in this source; they stay\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["index", "{corpus}"], "an index needs a model (--model) or the words of the documents (--bm25)"),
        (["index", "{corpus}", "--bm25", "--to", "index"], "the name of a local index ends in .db"),
        (["index", "{corpus}.gone", "--bm25"], "there is no such file or folder"),
        (["index", "{corpus}", "--model", "{corpus}", "--to", "{uri}"], "corpus.jsonl"),
        (["search", "x", "--index", "gone.db"], "gone.db: there is no such index"),
        (["search", "x", "--index", "{uri}", "--mode", "dense"], "has no dense; it has bm25"),
        (
            ["search", "x", "--index", "{uri}", "--mode", "hybrid"],
            "has only bm25, so there is nothing to fuse",
        ),
        (["search", "x", "--index", "{uri}", "-k", "20000"], "k is 20,000, but it must be from 1 to 16,384"),
        (["search", " ", "--index", "{uri}"], "the query is empty"),
        (
            ["search", "x", "--index", "{uri}", "--weights", "bm25=-1"],
            "give weights of 0 or more for some of",
        ),
        (["search", "x", "--index", "{uri}", "--collection", "dogs"], "has no collection 'dogs'"),
    ],
)
def test_bad_input_is_an_error_of_one_line(words, message, built, ultra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ultra(*(word.format(corpus=built[0], uri=built[1]) for word in words))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def assert_searched_without_torch(query, uri):
    code = "import sys; from ultra_train.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    words = [sys.executable, "-c", code, "search", query, "--index", uri, "--mode", "sparse"]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_models_are_found_again_and_another_one_is_refused(ultra, built, tiny_encoders, tmp_path):
    uri, dense, sparse = str(tmp_path / "both.db"), str(tiny_encoders["dense"]), str(tiny_encoders["sparse"])
    words = ["index", built[0], "--to", uri, "--model"]
    assert ultra(*words, dense, "--model", sparse).exit_code == 0
    hits = json.loads(ultra("search", "abre la puerta", "--index", uri, "--json").stdout)["results"]
    assert {name for hit in hits for name in hit["places"]} == {"dense", "sparse"}
    assert_searched_without_torch("la luz", uri)
    other = str(tiny_encoders["other"])
    for refused in (
        ultra(*words, other, "--model", sparse),
        ultra("search", "la luz", "--index", uri, "--model", other),
    ):
        assert refused.exit_code == 2
        assert "was built with another dense model" in refused.stderr
    lacking = ultra("search", "la luz", "--index", built[1], "--model", dense)
    assert "has no dense vectors" in lacking.stderr
