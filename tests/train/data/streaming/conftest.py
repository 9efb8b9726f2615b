"""Shared by the tests of streaming: a corpus of several sources and formats, and loaders over it."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.streaming.loader import StreamLoader
from ultra_train.data.streaming.plan import StreamPlan
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.data.token_cache.cutting import Cutting


@pytest.fixture(scope="session")
def sources(texts, tmp_path_factory):
    """Five sources with the 295 texts of the corpus, and rows without text."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "a.txt").write_text("\n".join([*texts[:30], "", *texts[30:60], ""]), "utf-8")
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts[60:120])
    (folder / "c.csv").write_text(
        "text,id\n" + "".join(f'"{text}\n",1\n' for text in texts[120:180]), "utf-8"
    )
    pq.write_table(pa.table({"text": [*texts[180:220], None, *texts[220:240]]}), folder / "d.parquet",
                   row_group_size=13)  # fmt: skip
    (folder / "e.txt").write_text("\n".join(texts[240:]), "utf-8")
    names = ("a.txt", "b.jsonl.gz", "c.csv", "d.parquet", "e.txt")
    return read_sources([str(folder / name) for name in names])


@pytest.fixture
def make_stream(sources, tokenizer, tmp_path):
    """Return a function that opens the stream in a folder."""

    def make(folder="cache", **options):
        options = {
            "sources": sources,
            "cutting": Cutting(max_length=32),
            "window": 40,
            "eval_fraction": 0.1,
            "seed": 3,
            "num_workers": 0,
            "budget": 10**9,
            "say": lambda line: None,
            **options,
        }
        chosen = options.pop("sources")
        return WindowStream(chosen, tokenizer, cache_dir=tmp_path / folder, **options)

    return make


@pytest.fixture
def make_loader(make_stream, tokenizer):
    """Return a function that makes a loader over the stream in a folder."""

    def make(folder="cache", *, workers=0, **options):
        stream = make_stream(folder, **options)
        plan = StreamPlan(stream.folder, stream.split, batch_size=4, max_length=32, seed=3, mode="length")
        collator = MLMCollator(stream.first, tokenizer, seed=3)
        return StreamLoader(stream, plan, collator, num_workers=workers)

    return make
