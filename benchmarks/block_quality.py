"""Quality of each block in a small masked language model, trained on the embedded Spanish sentences."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

import attrs
import harness
import numpy as np
from block_claims import work
from work import Setting

from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.config import load_preset
from ultra_train.run.execution import execute
from ultra_train.tasks.mlm.training import MLMRun


@attrs.define
class Result:
    """Results of a run."""

    loss: float
    accuracy: float
    rate: float
    parameters: int
    unigram: float


class Watch:
    """A hook that stores the task and the model of the run."""

    task: MLMRun
    parameters: int

    @hookimpl
    def ultra_callbacks(self, run):
        self.task = run.task
        self.parameters = sum(p.numel() for p in run.model.parameters())
        return []


def unigram_loss(task: MLMRun) -> float:
    """Return the mean -log p of the held-out tokens under the frequencies of the training tokens, in nats."""
    size = len(task.tokenizer)

    def count(shards) -> np.ndarray:
        tokens = shards.gather(np.arange(len(shards)))[0]
        counts = np.bincount(tokens, minlength=size).astype(float)
        counts[list(task.tokenizer.all_special_ids)] = 0
        return counts

    train, held_out = count(task.train) + 1, count(task.held_out)
    return float(-(held_out * np.log(train / train.sum())).sum() / held_out.sum())


def train(block: str, *, steps: int, layers: int, folder: Path, cache: Path) -> Result:
    """Train an encoder of one block with the data, sizes and optimizer of the quickstart."""
    overrides = [
        f"model.layer_pattern=[{block}]", f"model.num_layers={layers}",
        f"training.scheduler_total_steps={steps}", f"training.cache_dir={cache}",
        f"training.checkpoint_every_n_steps={10 * steps}", f"tokenizer.name_or_path={cache / 'tokenizer'}",
    ]  # fmt: skip
    manager, watch = plugin_manager(), Watch()
    manager.register(watch)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run = execute(load_preset("quickstart", overrides), output_dir=folder, device="cpu", name=block)
    finally:
        manager.unregister(watch)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = [record for record in records if "eval_loss" in record][-1]
    rates = [record["tokens_per_second"] for record in records if "tokens_per_second" in record]
    return Result(
        loss=last["eval_loss"],
        accuracy=last["eval_accuracy"],
        rate=harness.median(rates),
        parameters=watch.parameters,
        unigram=unigram_loss(watch.task),
    )


def main(names: list[str], *, steps: int, layers: int = 2) -> None:
    """Print the table; a model that does not use its context stays above the unigram loss."""
    cache = Path(".cache/bench/blocks").resolve()
    setting = Setting(width=128, tokens=2048)
    rows, results = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            result = train(name, steps=steps, layers=layers, folder=Path(folder), cache=cache)
            results.append(result)
            peak = work(setting, name, 512).peak() / 2**20
            rows.append(
                [name, f"{result.loss:.2f}", f"{result.accuracy:.1%}", f"{result.rate:,.0f}",
                 f"{result.parameters:,}", f"{peak:.0f}"]
            )  # fmt: skip
    header = [
        "block", "loss", "masked tokens right", "real tokens/s", "parameters",
        "MiB of a block, 2048 positions",
    ]  # fmt: skip
    print(
        f"{layers} layers, 128 wide, 4 heads, {steps} updates on ultra:es-commands; loss in nats on held-out "
        f"templates; the frequencies of tokens alone give {results[0].unigram:.2f}\n"
    )
    print(harness.table(header, rows))
    if above := [n for n, r in zip(names, results, strict=True) if r.loss >= r.unigram]:
        raise SystemExit(f"no better than frequencies: {', '.join(above)}")
