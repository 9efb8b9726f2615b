from ultra_train.tasks.embeddings.closing import metric_lines


def test_a_line_for_each_kind_of_measurement():
    metrics = {
        "eval_loss": 1.0,
        "eval_spearman_cosine": 0.81,
        "eval_pearson_cosine": 0.8,
        "eval_web_cosine_accuracy": 0.9,
        "eval_cosine_accuracy@1": 0.5,
        "eval_cosine_mrr@10": 0.6,
        "eval_cosine_ndcg@10": 0.7,
    }
    pairs, triplets, queries = metric_lines(metrics)
    assert "0.810 (Spearman" in pairs
    assert "triplets of web: for 90.0%" in triplets
    assert "first for 50.0%; MRR@10 is 0.600, nDCG@10 0.700" in queries
