"""Keys of ``training`` about data: where the texts come from, and how they are tokenised."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs

from ultra_core.contracts import Range
from ultra_train.config.keys import Count, Fraction, Natural, Positive, key

EMBEDDED = "ultra:es-commands"
MOST_SOURCES = 10_000
"""The largest number of sources in a list; each is looked for before a run."""


@attrs.frozen(kw_only=True)
class DatasetSource:
    """One source of texts."""

    source: str = key(
        help="a file, folder or glob (.txt, .jsonl, .parquet, .csv), a Hugging Face data set, "
        "or the embedded ultra:es-commands"
    )
    split: str = key("train", "split of a Hugging Face data set")
    column: str = key("text", "column that holds the text")
    weight: Positive = key(1.0, "passes over it in an epoch; 2.0: every document twice")
    name: str | None = key(None, "configuration name of a Hugging Face data set")


Dataset = str | DatasetSource | tuple[str | DatasetSource, ...]
"""How a preset may write its data: a source, or a list of sources."""


def as_sources(dataset: Dataset | None) -> tuple[DatasetSource, ...]:
    """Return the sources of a ``dataset`` key in the long form."""
    if dataset is None:
        return ()
    items = dataset if isinstance(dataset, tuple) else (dataset,)
    return tuple(DatasetSource(source=item) if isinstance(item, str) else item for item in items)


@attrs.frozen(kw_only=True, slots=False)
class DataKeys:
    """Where the training data comes from, and how it is batched."""

    dataset: Dataset | None = key(
        None, f"source of the texts, or a list of sources; {EMBEDDED} if there is none"
    )
    local_parquet_dir: str | None = key(None, "folder of parquet files that is read instead of the data set")
    prefer_local_cache: bool = key(True, "read local_parquet_dir if it exists")
    stream_local_parquet: bool = key(
        True,
        "tokenise texts of more than stream_above_gb while the run trains already, those of the hub without "
        "a copy",
    )
    cache_dir: str = key("./temp_data/v2_dataset_cache", "folder of the tokenised shards")
    max_samples: Count = key(20_000_000, "the run ends after this many documents")
    dataloader_workers: Natural = key(2, "worker processes that load batches")
    batch_size: Count = key(4, "documents in a forward pass")
    eval_fraction: Fraction = key(0.01, "share of the documents held out for evaluation, below 1; 0 for none")
    seed: Natural = key(42, "seed of initial weights, order and masks")


@attrs.frozen(kw_only=True, slots=False)
class TextKeys:
    """How plain text becomes token ids: keys that the options of tasks on text inherit."""

    on_bad_rows: Literal["error", "skip"] = key(
        "error", "whether a row that cannot be read ends the run, or is skipped, counted and named"
    )
    dataset_batch_size: Count = key(25_000, "documents that are tokenised at a time")
    num_workers: Natural = key(8, "processes that tokenise, on each machine")
    max_length: Annotated[int, Range(min=3)] = key(
        512, "tokens in a document, special ones included; longer texts become several"
    )
