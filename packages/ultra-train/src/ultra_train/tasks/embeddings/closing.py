"""What a run on embeddings prints at its end: its metrics in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_RANKED = re.compile(r"eval_(.*?)(cosine|dot)_(mrr|ndcg)@10")


def metric_lines(metrics: Mapping[str, float]) -> Iterator[str]:
    """Yield a line about each data set that was measured on held-out rows, as far as a metric says so.

    Args:
        metrics: of the finished model, as ``eval_<data set>_<metric>``; a single data set has no name there.
    """
    for name, value in metrics.items():
        if name.endswith(("spearman_cosine", "spearman_dot")):
            prefix = name.removeprefix("eval_").rpartition("spearman")[0]
            yield (
                f"Held-out pairs{_of(prefix)}: the similarities correlate with the scores by {value:.3f} "
                "(Spearman; 1 is the same order)."
            )
        elif name.endswith(("cosine_accuracy", "dot_accuracy")):
            prefix = re.sub(r"(cosine|dot)_accuracy$", "", name.removeprefix("eval_"))
            yield (
                f"Held-out triplets{_of(prefix)}: for {value:.1%} of them the positive is more alike than "
                "the negative (chance: 50 %)."
            )
        elif (found := _RANKED.fullmatch(name)) is not None and found[3] == "ndcg":
            prefix, score = found[1], found[2]
            first = metrics.get(f"eval_{prefix}{score}_accuracy@1", 0.0)
            reciprocal = metrics.get(f"eval_{prefix}{score}_mrr@10", 0.0)
            yield (
                f"Held-out queries{_of(prefix)}: the right document is the first for {first:.1%}; MRR@10 is "
                f"{reciprocal:.3f}, nDCG@10 {value:.3f}."
            )


def _of(prefix: str) -> str:
    return f" of {prefix.rstrip('_')}" if prefix else ""
