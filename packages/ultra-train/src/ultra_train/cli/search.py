"""``ultra-train search``: the best documents of an index for a query."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ultra_core.errors import UltraError
from ultra_train.cli.options import loading_options, models_option

if TYPE_CHECKING:
    from ultra_train.search.searcher import Hit, Mode

RETRIEVERS = ("dense", "sparse", "bm25")


@click.command()
@click.argument("query")
@click.option(
    "--index", "uri", default="index.db", show_default=True, help="Local index, or http://host:19530."
)
@click.option("--collection", default="documents", show_default=True, help="Name of the collection.")
@click.option("-k", default=10, show_default=True, help="Documents to show.")
@click.option("--mode", type=click.Choice([*RETRIEVERS, "hybrid"]), help="[hybrid, if the index can].")
@click.option("--weights", metavar="NAME=X,...", help="Fuse by weighted scores: dense=0.7,sparse=0.3.")
@click.option("--candidates", default=100, show_default=True, help="Documents of each retriever to fuse.")
@models_option("A model of the index, if it is no longer where it was.")
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each query.")
def search(
    query: str,
    uri: str,
    collection: str,
    k: int,
    mode: Mode | None,
    weights: str | None,
    candidates: int,
    models: tuple[str, ...],
    device: str | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Find the best documents for QUERY; with "-", for each line of the standard input.

    Several retrievers are fused by reciprocal ranks, or by --weights. Opening an index takes longer than a
    search in it, so give many queries by "-".
    """
    from ultra_train.search.encoders import EncodingOptions, identify_all
    from ultra_train.search.index import open_index
    from ultra_train.search.milvus import Connection, check_uri
    from ultra_train.search.queries import query_encoders
    from ultra_train.search.searcher import Searcher

    by_weight = None if weights is None else parse_weights(weights)
    check_uri(uri, exists=True)
    identities = identify_all(models)
    with Connection(uri) as connection:
        index = open_index(connection, collection)
        if not index.is_complete:
            click.echo(f"notice: {uri} is not complete; start ultra-train index again to go on", err=True)
        options = EncodingOptions(device=device, trust_remote_code=trust_remote_code)
        searcher = Searcher(index, query_encoders(index, identities, options))
        searcher.retrievers(mode, by_weight)
        for text in _lines() if query == "-" else (query,):
            hits = searcher.search(text, k, mode, weights=by_weight, candidates=candidates)
            click.echo(json.dumps(_tree(text, hits), ensure_ascii=False) if as_json else shown(hits))


def parse_weights(text: str) -> dict[str, float]:
    """Return the weights that a text such as ``dense=0.7,sparse=0.3`` names.

    Raises:
        UltraError: it names something else, or a weight is negative.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            weights[name.strip()] = -1.0
    numbers = weights.values()
    possible = weights.keys() <= set(RETRIEVERS) and all(0 <= each < float("inf") for each in numbers)
    if not possible or not any(numbers):
        raise UltraError(
            f"--weights {text!r}: give weights of 0 or more for some of {', '.join(RETRIEVERS)}, such as "
            "dense=0.7,sparse=0.3"
        )
    return weights


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def shown(hits: list[Hit]) -> str:
    """Return hits as lines: rank, score, id and title; snippet; the places of several retrievers."""
    lines: list[str] = []
    for hit in hits:
        lines.append(f"{hit.rank:>3}  {hit.score:.4f}  {hit.id}{f'  {hit.title}' if hit.title else ''}")
        lines.append(f"     {hit.snippet}")
        if hit.places:
            places = (f"{name} {place.rank} ({place.score:.4g})" for name, place in hit.places.items())
            lines.append(f"     {'  '.join(places)}")
    return "\n".join(lines) if lines else "nothing found"


def _tree(query: str, hits: list[Hit]) -> dict[str, Any]:
    import attrs

    return {"query": query, "results": [attrs.asdict(hit) for hit in hits]}
