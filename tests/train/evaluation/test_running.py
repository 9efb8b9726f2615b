from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from support.collections import DOCUMENTS, QUERIES, write_collection
from support.word_encoders import dense_encoder, saved, sparse_encoder
from ultra_core.errors import UltraError
from ultra_train.cli import main
from ultra_train.evaluation.baseline import read_baseline
from ultra_train.evaluation.ranking_measures import RankingMeasures
from ultra_train.evaluation.results import Resampling, SystemResult
from ultra_train.evaluation.retrieval import Plan
from ultra_train.evaluation.running import Loading, Request, evaluate
from ultra_train.retrieval.reading import read_collection
from ultra_train.retrieval.scoring import dense_top_k

WORDS = [" ".join(pair) for pair in DOCUMENTS.values()] + list(QUERIES.values())
FAST = Plan(resampling=Resampling(resamples=100))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("evaluation")
    write_collection(place / "casa")
    saved(dense_encoder(WORDS), place / "vectors")
    saved(sparse_encoder(WORDS, route=True), place / "words" / "model")
    (place / "words" / "config.yaml").touch()
    return place


def request(place: Path, *models: str, **settings: object) -> Request:
    given = {"models": [str(place / m) for m in models], "source": str(place / "casa"), "plan": FAST}
    given["loading"] = Loading(device="cpu", runs=place)
    return Request(**{**given, **settings})  # type: ignore[arg-type]


def by_name(systems: object) -> dict[str, SystemResult]:
    return {system.name: system for system in systems}  # type: ignore[attr-defined]


def test_all_systems_stand_side_by_side(place: Path) -> None:
    plan = attrs.evolve(FAST, seen_split="train", sparsity=True)
    results = evaluate(request(place, "vectors", "words/model", plan=plan))
    everything, seen, unseen = results.groups
    systems = by_name(everything.systems)
    assert [(name, one.kind) for name, one in systems.items()][:3] == [
        ("BM25", "BM25"), ("vectors", "dense"), ("words", "sparse"),
    ]  # fmt: skip
    assert list(systems)[3:] == [
        "vectors + BM25, RRF", "vectors + BM25, tuned", "words + BM25, RRF", "words + BM25, tuned",
        "BM25 + vectors + words, RRF", "BM25 + vectors + words, tuned",
    ]  # fmt: skip
    assert sum(systems["vectors + BM25, tuned"].details.values()) == pytest.approx(1)
    assert systems["words"].scores["nDCG@10"].difference.against == "BM25"  # type: ignore[union-attr]
    assert systems["BM25"].scores["nDCG@10"].difference is None
    costs = systems["vectors"].costs
    assert costs is not None
    assert costs.index_bytes == 6 * 8 * 4
    # d4 also answers a query of train, d2 and d3 do not
    assert (everything.items, seen.items, unseen.items) == (2, 1, 2)
    assert any("1 of the 3 documents that answer queries also" in line for line in results.notices)
    assert list(results.sparsity) == ["words"]
    assert results.sparsity["words"].queries.mean == 2.5, "poner música; bajar una persiana: 2 and 3 words"


def test_dense_results_are_those_of_a_search_by_hand(place: Path) -> None:
    results = evaluate(request(place, "vectors", bm25=False))
    (system,) = results.groups[0].systems
    collection, model = read_collection(str(place / "casa")), dense_encoder(WORDS)
    ranking = dense_top_k(
        model.encode(collection.judged("test")), model.encode(list(collection.documents)), 6, model.similarity
    )
    expected = RankingMeasures(collection.qrels["test"]).of(ranking)
    assert system.scores["nDCG@10"].value == pytest.approx(expected["nDCG@10"].mean())
    assert results.values["vectors"]["MRR@10"] == pytest.approx(expected["MRR@10"], rel=1e-6)


def test_unseen_documents_are_judged_without_the_seen_ones(place: Path) -> None:
    results = evaluate(request(place, plan=attrs.evolve(FAST, seen_split="train")))
    everything, seen, unseen = (group.systems[0].scores["MRR@10"].value for group in results.groups)
    # "poner música" finds d2 first; "bajar una persiana" finds d4 (seen) before d3
    assert (everything, seen, unseen) == (1, 1, 1)
    recall = evaluate(request(place, plan=attrs.evolve(FAST, recalls=(1,), seen_split="train")))
    assert [group.systems[0].scores["Recall@1"].value for group in recall.groups] == [0.75, 1, 1]


def test_without_a_tuning_split_there_is_no_tuned_hybrid(tmp_path: Path, place: Path) -> None:
    folder = write_collection(tmp_path / "c", judgements={"test": {"q2": {"d2": 1}}})
    results = evaluate(request(place, "vectors", source=str(folder)))
    assert list(by_name(results.groups[0].systems)) == ["BM25", "vectors", "vectors + BM25, RRF"]
    assert any("has no split 'dev'" in line for line in results.notices)


def test_a_baseline_stands_beside_its_successor(place: Path, tmp_path: Path) -> None:
    first = evaluate(request(place, "vectors"))
    (tmp_path / "results.json").write_text(first.to_json())
    second = evaluate(request(place, "vectors", "words/model", baseline=tmp_path))
    systems = by_name(second.groups[0].systems)
    earlier = systems["vectors (baseline)"]
    assert earlier.is_baseline
    assert earlier.scores["nDCG@10"].value == pytest.approx(systems["vectors"].scores["nDCG@10"].value)
    assert systems["vectors"].scores["nDCG@10"].difference.against == "vectors (baseline)"  # type: ignore[union-attr]
    assert systems["vectors"].scores["nDCG@10"].difference.p == 1  # type: ignore[union-attr]
    assert systems["words"].scores["nDCG@10"].difference.against == "BM25 (baseline)"  # type: ignore[union-attr]
    assert "vectors (baseline)" not in second.values
    with pytest.raises(UltraError, match=r"holds results of other data \(retrieval on casa, split test"):
        evaluate(request(place, "vectors", baseline=tmp_path, plan=attrs.evolve(FAST, split="dev")))


def test_pairs_and_triplets(place: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "sts.jsonl"
    rows = [
        (WORDS[0], WORDS[0], 1.0),
        (WORDS[0], WORDS[1], 0.4),
        (WORDS[2], WORDS[5], 0.0),
        ("la", "luz", 0.1),
    ]
    pairs.write_text("".join(json.dumps({"a": a, "b": b, "score": s}) + "\n" for a, b, s in rows))
    results = evaluate(request(place, "vectors", "words/model", source=str(pairs), task="sts"))
    assert [one.name for one in results.groups[0].systems] == ["vectors", "words"]
    model = dense_encoder(WORDS)
    cosines = [float(model.similarity(model.encode(a), model.encode(b))) for a, b, _ in rows]
    expected = np.corrcoef(cosines, [score for *_, score in rows])[0, 1]
    assert results.groups[0].systems[0].scores["Pearson"].value == pytest.approx(expected, abs=1e-5)
    triplets = tmp_path / "test.jsonl"
    rows2 = [(WORDS[0], WORDS[0], WORDS[3]), (WORDS[1], WORDS[4], WORDS[1])]
    triplets.write_text(
        "".join(json.dumps({"anchor": a, "positive": p, "negative": n}) + "\n" for a, p, n in rows2)
    )
    found = evaluate(request(place, "vectors", source=str(triplets), task="triplets"))
    assert found.data["split"] == "all rows"
    assert found.groups[0].systems[0].scores["accuracy"].value == 0.5
    pairs.write_text("".join(json.dumps({"a": a, "b": b, "score": round(s)}) + "\n" for a, b, s in rows))
    binary = evaluate(request(place, "vectors", source=str(pairs), task="binary"))
    assert binary.groups[0].systems[0].scores["AP"].value == 1
    assert "threshold of F1" in binary.groups[0].systems[0].details


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "nowhere.jsonl"}, "for pairs or triplets say which: --task sts or triplets or binary"),
        ({"task": "sts"}, "is a collection; it is evaluated by retrieval"),
        ({"models": [], "bm25": False}, "there is nothing to evaluate"),
        ({"language": "xx"}, "no stemmer for the language 'xx'"),
        ({"plan": attrs.evolve(FAST, recalls=(7,))}, "recall at 7 cannot be measured"),
        ({"plan": attrs.evolve(FAST, seen_split="tran")}, "has no qrels/tran.tsv.*Did you mean 'train'"),
        ({"models": ["a", "a"]}, "a model is named twice"),
        ({"models": ["/no/such/folder"]}, "there is no folder /no/such/folder"),
        ({"baseline": Path("nowhere.json")}, "--baseline: nowhere.json cannot be read"),
    ],
)
def test_faults_are_found_before_a_model_is_loaded(
    place: Path, settings: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultra_train.evaluation.running.load_encoder", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(UltraError, match=said):
        evaluate(request(place, "vectors", **settings))


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"format": 99}'])
def test_a_file_without_results_is_no_baseline(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UltraError, match=r"--baseline: .*results.json (has the format 99|holds no results)"):
        read_baseline(tmp_path)


def test_the_command_leaves_json_markdown_and_a_page(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["eval", "words", "--output-dir", str(place), "--data", str(place / "casa"), "--device", "cpu"]
    command += ["--resamples", "100", "--analyze-sparsity", "--recall", "2"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "casa, test: 2 queries, 6 documents" in printed.out
    assert "words + BM25, tuned" in printed.out
    assert "words: searching for 2 queries" in printed.err
    folder = tmp_path / "evaluation" / "words-casa"
    found = json.loads((folder / "results.json").read_text())
    assert found["groups"][0]["systems"][1]["scores"]["Recall@2"]["value"] <= 1
    assert "| words | queries | 2.5 |" in (folder / "results.md").read_text()
    assert "nDCG@10" in (folder / "results.html").read_text()

    assert main([*command, "--baseline", str(folder)]) == 0
    assert "(baseline)" in capsys.readouterr().out
    assert (folder.with_name("words-casa.1") / "results.json").is_file(), "earlier results are kept"

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    assert main([*command, "-o", "full"]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert main([*command, "--column", "sentence1"]) == 2
