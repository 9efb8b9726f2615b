"""The data sets of a sparse preset, and the columns that a loss takes."""

import json

import pytest

from ultra_train.data.errors import DataError
from ultra_train.tasks.sparse.data import read_data, route_of
from ultra_train.tasks.sparse.inner_losses import find_inner_loss

PRESET = """
model: {{base_model: a/b, architecture: inference-free-splade}}
datasets:
  {sets}
"""


def write(folder, name, *columns, rows=40, **more):
    lines = [{**{c: f"{name} {c} {i}" for c in columns}, **more} for i in range(rows)]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return f"{name}: {{source: {folder}/{name}.jsonl"


@pytest.fixture
def read(load, tmp_path):
    """Read the data sets of a preset with these sections."""

    def made(*sets, inner=None, overrides=()):
        text = PRESET.format(sets="\n  ".join(f"{one}}}" for one in sets))
        preset = load(text, *overrides)
        return read_data(preset, find_inner_loss(inner), cache_dir=str(tmp_path / "cache"), say=print)

    return made


def test_several_data_sets_with_columns_of_their_own(read, tmp_path):
    data = read(
        write(tmp_path, "one", "query", "document"),
        write(tmp_path, "two", "anchor", "positive", "negative") + ", kind: triplets",
        write(tmp_path, "three", "q", "d") + ", columns: {query: q, document: d}, split_ratio: 0.75",
    )
    assert [one.kind for one in data] == ["qa", "triplets", "qa"]
    assert [one.text_columns for one in data][1] == ("anchor", "positive", "negative")
    assert len(data.by_name["three"].train) == 30
    assert len(data.by_name["three"].held_out) == 10
    assert len(data.by_name["one"].held_out) == 1, "a hundredth, at least one row"
    assert data.strategy == "round_robin"
    assert all(one.negatives_in_batch for one in data)


def test_nothing_is_held_out_of_a_run_without_evaluations(read, tmp_path):
    data = read(write(tmp_path, "one", "query", "document"), overrides=["training.eval_strategy=no"])
    assert data.by_name["one"].held_out is None
    assert len(data.by_name["one"].train) == 40


def test_batches_may_repeat_texts(read, tmp_path):
    given = write(tmp_path, "one", "query", "document")
    data = read(given, overrides=["training.batch_sampler=batch_sampler"])
    assert not data.by_name["one"].negatives_in_batch


def test_every_data_set_that_is_missing_is_named(read, tmp_path):
    with pytest.raises(DataError) as caught:
        read(
            write(tmp_path, "one", "query", "text_of_it"),
            write(tmp_path, "two", "question", "reply"),
            f"nli: {{source: {tmp_path}/gone",
        )
    assert "one.jsonl:1: has no column for 'document'" in str(caught.value)
    assert "two.jsonl:1: has no column for 'document'" in str(caught.value)
    assert "datasets.nli.source: there is no folder" in str(caught.value)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("sparse_triplet", "takes rows of the kind triplets"),
        ("sparse_cosent", "takes rows of the kind paired_similarity"),
        ("sparse_margin_mse", "needs the columns negative, and the rows have"),
    ],
)
def test_one_loss_for_data_sets_with_other_columns(read, tmp_path, inner, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, "one", "query", "document") + ", kind: qa", inner=inner)


def test_margins_of_a_teacher(read, tmp_path):
    columns = "columns: {query: query, document: document, negative: negative, score: score}"
    given = write(tmp_path, "one", "query", "document", "negative", score=0.5)
    data = read(f"{given}, {columns}", inner="sparse_margin_mse")
    assert data.by_name["one"].train.column_names == ["query", "document", "negative", "score"]
    assert not data.by_name["one"].negatives_in_batch


def test_a_loss_that_learns_from_a_teacher_needs_its_scores(read, tmp_path):
    rows = write(tmp_path, "one", "query", "document", "negative")
    with pytest.raises(DataError, match=r"name one with datasets\.one\.teacher or name the column"):
        read(rows, inner="sparse_margin_mse")


def test_negatives_are_mined_and_scored_for_all_rows_of_a_loss_that_needs_them(read, tmp_path, monkeypatch):
    def mine(rows, options, load, **where):
        return rows.add_column("negative", [f"{options.model} {n}" for n in range(len(rows))])

    def add_scores(rows, teacher, load, **where):
        return rows.add_column("label", [[teacher.scale, 0.0]] * len(rows))

    monkeypatch.setattr("ultra_train.data.pairs.steps.hard_negatives.mine", mine)
    monkeypatch.setattr("ultra_train.data.pairs.steps.teacher.add_scores", add_scores)
    rows = write(tmp_path, "one", "query", "document")
    steps = "hard_negatives: {model: a/encoder}, teacher: {model: a/ranker, kind: cross, scale: 2}"
    loss = "sparse_distill_kl"
    one = read(f"{rows}, {steps}", inner=loss, overrides=[f"loss.inner_loss={loss}"]).by_name["one"]
    for part in (one.train, one.held_out):
        assert part.column_names == ["query", "document", "negative", "label"]
    assert one.text_columns == ("query", "document", "negative")
    assert one.train[0]["label"] == [2.0, 0.0]


def test_steps_that_do_not_fit_are_faults(problems, tmp_path):
    text = PRESET.format(sets="nli: {hard_negatives: {model: a/b}, teacher: {model: a/c}}")
    found = {fault.key: fault.message for fault in problems(text)}
    assert "not for triplets" in found["datasets.nli.hard_negatives"]
    assert "those that do are sparse_margin_mse, sparse_distill_kl" in found["datasets.nli.teacher"]


def test_routes():
    columns = ("query", "anchor", "sentence1", "document", "positive", "negative_2")
    assert [route_of(column) for column in columns] == ["query"] * 3 + ["document"] * 3
