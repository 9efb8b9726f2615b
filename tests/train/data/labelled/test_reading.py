"""Labelled rows of files and embedded data, and what is wrong with others."""

import json

import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.labelled.reading import LabelledSource, read_labelled


def read(path, problem="single_label", said=None, **options):
    source = LabelledSource(source=str(path), problem=problem, **options)
    return read_labelled(source, cache_dir=path.parent, notify=[].append if said is None else said.append)


@pytest.fixture
def rows(tmp_path):
    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        return path

    return write


def test_labels_are_found_in_the_order_of_their_numbers(rows):
    path = rows(*({"sentence": "a", "category": label} for label in (10, 9, 2.0)))
    found = read(path)
    assert found.labels == ("2", "9", "10")
    assert found.splits["train"]["label"] == ["10", "9", "2"]


def test_rows_without_text_or_label_are_counted(rows):
    said = []
    path = rows(
        {"text": "a", "label": "x"},
        {"text": "b", "label": "y"},
        {"text": " ", "label": "y"},
        {"text": "c", "label": None},
    )
    assert len(read(path, said=said).splits["train"]) == 2
    assert "1 empty text" in said[0]
    assert f"1 no label, the first at {path}:4" in said[0]


@pytest.mark.parametrize(
    ("row", "problem", "options", "message"),
    [
        (
            {"text": "b", "label": "z"},
            "single_label",
            {"labels": ("x", "zz")},
            "jsonl:2: the label 'z' is not in labels",
        ),
        ({"text": "b", "label": "high"}, "regression", {}, "holds 'x', but a label must be a finite number"),
        ({"text": 3, "label": "x"}, "single_label", {}, "jsonl:2: column 'text' holds int"),
        (
            {"text": "\ud83d", "label": "x"},
            "single_label",
            {},
            "jsonl:2: column 'text' holds half a surrogate",
        ),
        ({"text": "b", "label": 0.5}, "single_label", {}, r"holds 0.5 \(float\), but a label is"),
        ({"text": "b", "label": "x"}, "single_label", {}, "has only the label x"),
        ({"text": "b", "label": "x"}, "single_label", {"columns": {"label": "intent"}}, "no column 'intent'"),
        ({"text": "b", "label": "x"}, "tags", {}, "no column for 'tokens'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(rows, row, problem, options, message):
    with pytest.raises(DataError, match=message):
        read(rows({"text": "a", "label": "x"}, row), problem, **options)


def test_several_labels_in_a_table(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,x|y\nb,y\n", "utf-8")
    found = read(path, "multi_label")
    assert found.splits["train"]["label"] == [["x", "y"], ["y"]]
    assert found.labels == ("x", "y")


def test_tags_of_words(rows):
    found = read(rows({"words": "a la bodega", "ner_tags": "O O I-ROOM"}), "tags")
    assert found.splits["train"][0] == {"tokens": ["a", "la", "bodega"], "tags": ["O", "O", "B-ROOM"]}
    assert found.labels == ("O", "B-ROOM", "I-ROOM")
    with pytest.raises(DataError, match="2 words in 'tokens', but 1 tags"):
        read(rows({"tokens": ["a", "b"], "tags": ["O"]}), "tags")
    with pytest.raises(DataError, match="'ROOM' is none of BIO"):
        read(rows({"tokens": ["a"], "tags": ["ROOM"]}), "tags")


def test_the_embedded_commands_have_intents_and_slots(command_cache):
    def embedded(problem):
        source = LabelledSource(source="ultra:es-commands", problem=problem)
        return read_labelled(source, cache_dir=command_cache, notify=[].append)

    intents, slots = embedded("single_label"), embedded("tags")
    assert len(intents.labels) > 30
    assert "HassTurnOn" in intents.labels
    assert not set(intents.splits["train"]["text"]) & set(intents.splits["dev"]["text"])
    text, row = intents.splits["train"]["text"], slots.splits["train"]
    assert [" ".join(words) for words in row["tokens"]] == text
    assert {"B-area", "B-name", "I-name"} <= set(slots.labels)
    areas = {
        word
        for words, tags in zip(row["tokens"], row["tags"], strict=True)
        for word, tag in zip(words, tags, strict=True)
        if tag == "B-area"
    }
    assert "cocina" in areas
    assert not areas & {"la", "en", "enciende"}
