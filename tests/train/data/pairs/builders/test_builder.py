"""The builders read small stand-ins that have the columns and splits of the data sets of the hub."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.builders.builder import build_pairs
from ultra_train.data.pairs.builders.options import BuilderOptions
from ultra_train.data.sources import hub


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")


def question(name, count, **more):
    return [
        {"id": str(n), "question": f"{name} {n}?", "context": f"{name} passage {n}", **more} for n in count
    ]


def answered(start):
    return {"answers": {"text": ["x"], "answer_start": [start]}}


@pytest.fixture
def local(tmp_path):
    """A folder with a stand-in for every data set."""
    nli = [{"anchor": f"a{n}", "positive": f"p{n}", "negative": f"n{n}"} for n in range(9)]
    for split, rows in (("train", nli[:5]), ("dev", nli[5:7]), ("test", nli[7:])):
        write(tmp_path / "all-nli-norwegian" / f"{split}.parquet", rows)
    for split, count in (("train", 4), ("validation", 2), ("test", 1)):
        write(
            tmp_path / "norquad" / f"{split}.jsonl", question(f"norquad {split}", range(count), **answered(3))
        )
    book = [
        {"question_stem": f"stem {n}", "fact": f"fact {n}" if n % 5 else "", "answer": "A"} for n in range(20)
    ]
    write(tmp_path / "noropenbookqa" / "train.jsonl", book[:10])
    write(tmp_path / "noropenbookqa" / "test.jsonl", book[10:])
    for code in ("no", "da", "sv"):
        rows = question(f"scandi {code}", range(30), **answered(1)) + question(
            "none", range(9), **answered(-1)
        )
        write(tmp_path / "scandi-qa" / code / "train" / "0000.parquet", rows)
        write(
            tmp_path / "scandi-qa" / code / "test" / "0000.parquet",
            question(f"test {code}", [1], **answered(2)),
        )
    danish = [{"query": f"query {n}", "pos": f"pos {n}", "neg": [f"neg {n}"]} for n in range(60)]
    write(tmp_path / "supervised-da" / "data" / "train-00000-of-00001.parquet", danish)
    for name in ("train", "dev_2k", "test_2k"):
        paws = [{"id": n, "sentence1": f"{name} {n}", "sentence2": f"{n}", "label": n % 2} for n in range(6)]
        write(tmp_path / "paws-x" / "nb" / f"translated_{name}.json", paws)
    nordic = [
        {
            "query": f"q{n}",
            "positive": f"p{n}",
            "negative": f"n{n}" if n % 5 < 2 else None,
            "task": "retrieval" if n % 5 < 2 else "classification",
            "language": ["danish", "danish", "norwegian", "swedish"][n % 4],
            "instruction": "i",
            "prompt": "p",
            "response": "r",
        }
        for n in range(200)
    ]
    write(tmp_path / "nordic-embedding-training-data" / "train.parquet", nordic)
    return tmp_path


@pytest.fixture
def build(local):
    def build(name, **options):
        build.said = []
        options = {"source": str(local), **options}
        return build_pairs(
            name, BuilderOptions(**options), cache_dir=local / "cache", notify=build.said.append
        )

    return build


def sizes(splits):
    return {split: len(rows) for split, rows in splits.items()}


def test_nli_has_triplets_in_its_own_splits(build, local):
    found = build("nli", languages=["norwegian"], split_ratio=(0.98, 0.01, 0.01))
    assert sizes(found["nli"]) == {"train": 5, "dev": 2, "test": 2}
    assert found["nli"]["dev"].to_list()[0] == {"anchor": "a5", "positive": "p5", "negative": "n5"}
    alone = build("nli", source=str(local / "all-nli-norwegian"))
    assert sizes(alone["nli"]) == sizes(found["nli"])
    with pytest.raises(DataError, match="nli: there is no language 'danish' in it; it has no"):
        build("nli", languages=["danish"])


def test_scandi_qa_joins_its_parts_in_their_splits(build):
    found = build("scandi_qa")["scandi_qa"]
    assert found["train"].column_names == ["anchor", "positive"]
    texts = {split: set(rows["anchor"]) for split, rows in found.items()}
    assert not texts["train"] & texts["dev"]
    assert {"norquad validation 0?", "dev_2k 1"} <= texts["dev"]
    assert {"norquad test 0?", "test sv 1?", "test_2k 3"} <= texts["test"]
    assert not any("none" in text for split in texts.values() for text in split)
    stems = {split: sum("stem" in text for text in names) for split, names in texts.items()}
    assert stems["train"] == 8
    assert stems["dev"] + stems["test"] == 8
    assert len(texts["train"]) > 4 + 8 + 3 * 24 + 40 + 3 - 10
    assert "train 0" not in texts["train"]
    assert [line for line in build.said if "empty text" in line]


def test_parts_and_languages_are_chosen(build, local):
    only = build(
        "scandi_qa", use_norquad=False, use_openbookqa=False, use_paws=False, scandiqa_languages=["sv"]
    )
    texts = {text for rows in only["scandi_qa"].values() for text in rows["anchor"]}
    assert {text.split()[0] for text in texts} == {"scandi", "test", "query"}
    assert not any(code in text for text in texts for code in ("no ", "da "))
    (local / "paws-x").rename(local / "elsewhere")
    build("scandi_qa", use_scandiqa=False)
    assert "PAWS-X is left out" in build.said[-1]
    with_paws = build("scandi_qa", use_scandiqa=False, paws_data_dir=str(local / "elsewhere"))
    assert "train 1" in with_paws["scandi_qa"]["train"]["anchor"]
    with pytest.raises(DataError, match="nothing of it is used"):
        build("scandi_qa", **dict.fromkeys([f"use_{part}" for part in USED], False))


USED = ("norquad", "openbookqa", "scandiqa", "supervised_da", "paws")


def test_ddsc_is_pairs_and_triplets(build):
    found = build("ddsc")
    assert list(found) == ["ddsc_pairs", "ddsc_triplets"]
    assert sum(sizes(found["ddsc_pairs"]).values()) == 120
    assert sum(sizes(found["ddsc_triplets"]).values()) == 80
    assert found["ddsc_triplets"]["train"].column_names == ["anchor", "positive", "negative"]
    halves = build("ddsc", split_ratio=0.5, languages=["da"], tasks=["classification"])
    assert list(halves) == ["ddsc_pairs"]
    assert sum(sizes(halves["ddsc_pairs"]).values()) == 60
    assert 15 < len(halves["ddsc_pairs"]["dev"]) < 45
    with pytest.raises(DataError, match=r"there is no task 'retreival'.*Did you mean 'retrieval'"):
        build("ddsc", tasks=["retreival"])


def test_all_that_is_missing_is_named_at_once(build, local, monkeypatch):
    (local / "norquad").rename(local / "other")
    with pytest.raises(
        DataError, match=r"scandi_qa: 1 of its 7 data sets .*ltg/norquad \(.*norquad: there is no"
    ):
        build("scandi_qa")

    def unreachable(dataset, name, **where):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    hub.load_splits.cache_clear()
    with pytest.raises(DataError) as error:
        build("scandi_qa", source=None)
    for name in ("ltg/norquad", "ltg/noropenbookqa", "alexandrainst/scandi-qa", "jealk/supervised-da"):
        assert name in str(error.value)
    assert "give a folder with datasets.scandi_qa.source, in which norquad/, noropenbookqa/" in str(
        error.value
    )


def test_another_source_is_a_folder_or_a_single_data_set_of_the_hub(build, monkeypatch):
    asked = []
    part = datasets.Dataset.from_dict({name: [name] for name in ("anchor", "positive", "negative")})
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, *args, **where: asked.append(name) or {"train": part}
    )
    hub.load_splits.cache_clear()
    assert sizes(build("nli", source="me/my-nli")["nli"]) == {"train": 1}
    assert asked == ["me/my-nli"]
    hub.load_splits.cache_clear()
    with pytest.raises(DataError, match="scandi_qa consists of 6 data sets of the hub; only a local folder"):
        build("scandi_qa", source="me/qa")
    with pytest.raises(DataError, match=r"datasets.nli.source: there is no folder \./nowhere"):
        build("nli", source="./nowhere")
    with pytest.raises(DataError, match=r"no builder of a data set 'nil'.*Did you mean 'nli'"):
        build("nil")


def test_other_columns_are_said(build, local):
    write(local / "supervised-da" / "data" / "train-00000-of-00001.parquet", [{"query": "q", "text": "t"}])
    with pytest.raises(DataError, match="row 1: has no column 'pos', which jealk/supervised-da has"):
        build("scandi_qa")
