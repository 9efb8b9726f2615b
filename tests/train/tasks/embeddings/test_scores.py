import numpy as np
from datasets import Dataset

from ultra_train.tasks.embeddings.scores import even_weights, standardized


def test_scores_that_are_rare_are_drawn_as_often_as_frequent_ones():
    scores = np.r_[np.full(90, 0.1), np.full(10, 0.9)]
    weights = even_weights(scores, width=0.05)
    assert np.isclose(weights[:90].sum(), weights[90:].sum(), rtol=1e-6)
    flat = even_weights(scores, width=10.0)
    assert np.allclose(flat, 1.0, rtol=0.01)
    assert even_weights(np.full(3, 0.5), 0.3).tolist() == [1, 1, 1]


def test_standardized_by_the_training_rows_alone():
    train = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [0.2, 0.6]})
    held_out = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["c"], "score": [0.8]})
    one, other = standardized(train, held_out)
    assert np.allclose(one["score"], [-1, 1])
    assert np.allclose(other["score"], [2])
    assert one.column_names == train.column_names
    assert standardized(train, None)[1] is None
