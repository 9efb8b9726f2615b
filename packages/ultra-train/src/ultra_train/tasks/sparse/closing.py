"""What a run of a sparse encoder prints at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def sparsity_words(metrics: Mapping[str, float], dimensions: int | None) -> Iterator[str]:
    """Yield lines about retrieval and sparsity on held-out texts.

    Args:
        metrics: those of the finished model.
        dimensions: length of a representation.
    """
    for name in ("eval_NanoBEIR_mean_dot_ndcg@10", "eval_dot_ndcg@10"):
        if name in metrics:
            where = "NanoBEIR" if "Nano" in name else "the held-out texts"
            yield f"nDCG@10 on {where}: {metrics[name]:.3f}"
    sides = [(side, metrics.get(f"eval_{side}_active_dims")) for side in ("query", "document")]
    words = [f"{_plural(side)} {value:,.1f}" for side, value in sides if value is not None]
    if words:
        of = f" of {dimensions:,}" if dimensions else ""
        flops = metrics.get("eval_flops")
        products = f"; a score takes {flops:,.2f} products" if flops is not None else ""
        yield f"Active dimensions{of}: {', '.join(words)}{products}"


def _plural(side: str) -> str:
    return "queries" if side == "query" else "documents"
