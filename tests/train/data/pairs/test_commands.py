from collections import defaultdict

import pytest

from ultra_train.data.es_commands import sentences
from ultra_train.data.pairs.commands import command_rows
from ultra_train.data.pairs.kinds import KINDS


@pytest.fixture(scope="module")
def commands(command_cache):
    return sentences("es", cache_dir=command_cache)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_thousands_of_rows_in_splits_without_common_sentences(kind, commands):
    texts, counts = defaultdict(set), defaultdict(int)
    for split, row in command_rows(commands, kind):
        assert set(KINDS[kind].columns) <= {*row, "score"}
        counts[split] += 1
        texts[split] |= {
            line for value in row.values() if isinstance(value, str) for line in value.split("\n")
        }
    assert counts["train"] > 3500
    assert min(counts["dev"], counts["test"]) > 300
    known = {sentence.text for sentence in commands}
    for split, others in (("train", ("dev", "test")), ("dev", ("test",))):
        assert all(not texts[split] & texts[other] & known for other in others)
    assert list(command_rows(commands, kind)) == list(command_rows(commands, kind))


def test_scores_follow_from_intents_and_slots(commands):
    meanings = {sentence.text: sentence.frame for sentence in commands}
    scores = set()
    for _, row in command_rows(commands, "paired_similarity"):
        assert meanings[row["sentence1"]].similarity(meanings[row["sentence2"]]) == row["score"]
        scores.add(row["score"])
    assert scores == {0.0, 0.3, 0.6, 1.0}


def test_labels_follow_from_intents_and_slots(commands):
    meanings = {sentence.text: sentence.frame for sentence in commands}
    labels = set()
    for _, row in command_rows(commands, "nli"):
        first, second = meanings[row["sentence1"]], meanings[row["sentence2"]]
        labels.add(row["label"])
        if row["label"] == "contradiction":
            assert first.opposite == second
        else:
            assert first.similarity(second) == {"entailment": 1.0, "neutral": 0.6}[row["label"]]
    assert labels == {"entailment", "neutral", "contradiction"}


def test_a_query_is_on_no_page_and_its_page_has_its_meaning(commands):
    meanings = {sentence.text: sentence.frame for sentence in commands}
    rows = [row for _, row in command_rows(commands, "qa")]
    on_pages = {line for row in rows for line in row["document"].split("\n")}
    for row in rows:
        assert row["query"] not in on_pages
        assert {meanings[line] for line in row["document"].split("\n")} == {meanings[row["query"]]}
