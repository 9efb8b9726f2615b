"""Tokenising: the token cache of a run beside ``tokenizers`` alone, with as many processes.

The peer holds all texts in memory and calls ``encode_batch_fast``, in one process with a thread a core. Ours
reads the file, tokenises in as many processes, cuts, counts repeated texts, and writes and checks the shards.
Both sides run in turn; the figures are medians of megabytes of text a second, and their ratio is to be 0.8 or
more. A third side is a stream from its start to its end, and how long its first window takes::

    python benchmarks/tokenizing.py --text corpus.txt.gz
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

from harness import interleave, median, spread, table

from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.texts import TextReader
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.training import train_tokenizer

LENGTH = 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", required=True, help="file with a text a line")
    parser.add_argument("--texts", type=int, default=40_000, help="number of texts that are used")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="processes, and threads of the peer"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=8_000)
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(options.processes)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = list(islice(TextReader().texts(options.text), options.texts))
        file = folder / "texts.txt"
        file.write_text("\n".join(texts), "utf-8")
        megabytes = file.stat().st_size / 1e6
        train_tokenizer(texts[:: max(1, len(texts) // 10_000)], vocab_size=options.vocab_size,
                        output_dir=folder / "tokenizer")  # fmt: skip
        tokenizer = load_tokenizer(folder / "tokenizer")
        made: list[Path] = []
        first_windows: list[float] = []

        def new_cache() -> Path:
            made.append(folder / f"cache-{len(made)}")
            return made[-1]

        def alone() -> None:
            os.environ["TOKENIZERS_PARALLELISM"] = "true"
            tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)

        def cache() -> None:
            prepare([DataSource(str(file))], tokenizer, max_length=LENGTH, cache_dir=new_cache(),
                    num_workers=options.processes, documents_per_chunk=2_500)  # fmt: skip

        def stream() -> None:
            start = time.perf_counter()
            windows = WindowStream(
                [DataSource(str(file))], tokenizer, cutting=Cutting(max_length=LENGTH), cache_dir=new_cache(),
                window=max(1, len(texts) // 8), eval_fraction=0.01, seed=0, num_workers=options.processes,
                budget=10**12, say=lambda line: None,
            )  # fmt: skip
            first_windows.append(time.perf_counter() - start)
            for number in range(8):
                windows.wait_for(number)
            windows.close()

        sides = {"tokenizers alone": alone, "token cache": cache, "stream": stream}
        processor: dict[str, list[float]] = {name: [] for name in sides}

        def rate(name: str) -> float:
            start, before = time.perf_counter(), processor_seconds()
            sides[name]()
            processor[name].append(processor_seconds() - before)
            return megabytes / (time.perf_counter() - start)

        figures = interleave({name: partial(rate, name) for name in sides}, options.rounds)
    first = next(iter(sides))
    rows = []
    for name, rates in figures.items():
        row = [name, f"{median(rates):.2f}", spread(rates), f"{median(rates) / median(figures[first]):.2f}"]
        if name == "stream":  # its processes are ended, so that their time is not known
            rows.append([*row, "", ""])
            continue
        seconds = median(processor[name][1:])
        rows.append([*row, f"{seconds:.2f}", f"{median(processor[first][1:]) / seconds:.2f}"])
    print(f"{len(texts):,} texts, {megabytes:.1f} MB, {options.processes} processes")
    print(table(["side", "MB a second", "spread", "ratio", "processor s", "ratio by processor s"], rows))
    print(f"The first window of the stream is there after {median(first_windows):.2f} s.")


def processor_seconds() -> float:
    """Return the processor time of this process and of those that it has started and that have ended."""
    here = os.times()
    return here.user + here.system + here.children_user + here.children_system


if __name__ == "__main__":
    main()
