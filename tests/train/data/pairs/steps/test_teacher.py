import datasets
import numpy as np
import pytest
import torch

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.steps import teacher
from ultra_train.data.pairs.steps.teacher import Teacher, add_scores

ROWS = [{"query": "q" * n, "document": "d" * (n + 1), "negative": "x" * (n % 3)} for n in range(1, 24)]
PAIRS = [{"anchor": row["query"], "positive": row["document"], "score": 0.5} for row in ROWS]


class CrossEncoder:
    """Scores a pair by the lengths of its texts; counts the pairs, and fails after some."""

    def __init__(self, outputs=1, fails_after=10**6):
        self.pairs, self.outputs, self.fails_after, self.raw = 0, outputs, fails_after, False

    def predict(self, pairs, batch_size, show_progress_bar, activation_fn=None):
        self.pairs += len(pairs)
        self.raw = activation_fn is not None
        if self.pairs > self.fails_after:
            raise KeyboardInterrupt
        scores = np.array([len(query) + len(document) / 100 for query, document in pairs], np.float32)
        return scores if self.outputs == 1 else np.stack([scores] * self.outputs, axis=1)


class BiEncoder:
    """Encodes a text as its length; counts the texts."""

    texts = 0

    def encode_query(self, texts, batch_size, show_progress_bar, convert_to_tensor):
        self.texts += len(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    encode_document = encode_query

    def similarity_pairwise(self, a, b):
        return (a * b).sum(-1)


@pytest.fixture
def scored(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher, "_ROWS_AT_ONCE", 5)

    def scored(rows, model, **options):
        scored.said = []
        return add_scores(
            datasets.Dataset.from_list(rows),
            Teacher(**{"model": "owner/teacher", **options}),
            lambda: model,
            cache_dir=tmp_path / "cache",
            notify=scored.said.append,
        )

    return scored


def expected(row):
    return [len(row["query"]) + len(row[name]) / 100 for name in ("document", "negative")]


def test_rows_with_negatives_get_the_logits_of_all_documents(scored):
    model = CrossEncoder()
    found = scored(ROWS, model, scale=2.0)
    assert found.column_names == ["query", "document", "negative", "label"]
    np.testing.assert_allclose(found["label"], [[2 * s for s in expected(row)] for row in ROWS], rtol=1e-6)
    assert model.raw
    assert [dict(list(row.items())[:3]) for row in found.to_list()] == ROWS


def test_pairs_get_one_score_in_place_of_another(scored):
    model = CrossEncoder()
    found = scored(PAIRS, model)
    assert found.column_names == ["anchor", "positive", "score"]
    np.testing.assert_allclose(found["score"], [expected(row)[0] for row in ROWS], rtol=1e-6)
    assert not model.raw
    assert scored.said == ["teacher: its scores replace score"]


def test_a_bi_encoder_encodes_each_text_once(scored):
    model = BiEncoder()
    same = [{"query": "qq", "document": "ddd", "negative": "ddd"}] * 5
    found = scored(same, model, kind="bi")
    assert found["label"][0] == [6.0, 6.0]
    assert model.texts == 2


def test_a_killed_run_goes_on_and_a_finished_one_is_reused(scored, tmp_path):
    killed = CrossEncoder(fails_after=25)
    with pytest.raises(KeyboardInterrupt):
        scored(ROWS, killed)
    (work,) = (tmp_path / "cache").iterdir()
    kept = sorted(work.iterdir())
    assert len(kept) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:-8])
    model = CrossEncoder()
    found = scored(ROWS, model)
    assert model.pairs == 2 * len(ROWS) - 10
    np.testing.assert_allclose(found["label"], [expected(row) for row in ROWS], rtol=1e-6)
    again = scored(ROWS, None)
    assert again.to_list() == found.to_list()
    assert not work.exists()


def test_what_cannot_be_scored_is_refused(scored):
    with pytest.raises(DataError, match="the only text is 'anchor'"):
        scored([{"anchor": "a"}], None)
    with pytest.raises(DataError, match="gives 3 scores for a pair, but one is needed"):
        scored(PAIRS, CrossEncoder(outputs=3))
