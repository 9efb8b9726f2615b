"""Writes the tables of ``docs/scaling.md``: every number is what ``ultra-train estimate`` says.

Run ``python docs/scaling.py`` after a change; ``python docs/scaling.py --check`` says whether it is due.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs

from ultra_train.config import Preset, load_preset
from ultra_train.estimate.devices import GPUS
from ultra_train.estimate.estimate import BYTES_PER_TOKEN, Estimate, estimate
from ultra_train.estimate.spread import Spread
from ultra_train.estimate.text import duration, number, size

PAGE = Path(__file__).with_name("scaling.md")
MARK = "<!-- {}: written by docs/scaling.py -->"
END = "<!-- end -->"

PRESET = """
model_class: frankenstein
model:
  vocab_size: 50000
  hidden_size: {width}
  num_layers: {layers}
  num_heads: {heads}
  ffn_hidden_size: {ffn}
  dropout: 0.0
  use_hope: false
  use_moe: false
training:
  batch_size: {batch}
  gradient_accumulation_steps: {accumulation}
  max_length: 512
  precision: bf16
  activation_checkpointing: true
  optimizer: {{optimizer_class: {method}, parameters: {{{method}-lr: 3.0e-4}}}}
"""

MODELS = {
    "100 M": {"width": 768, "layers": 11, "heads": 12, "ffn": 2688, "batch": 32},
    "1 B": {"width": 2048, "layers": 19, "heads": 16, "ffn": 8192, "batch": 16},
    "10 B": {"width": 5120, "layers": 31, "heads": 40, "ffn": 20480, "batch": 8},
}
"""Encoders with softmax attention of about these numbers of parameters."""

UPDATE_TOKENS = 2**20
"""Tokens of an update of all processes."""

CORPORA = {"10 GB": 10**10, "100 GB": 10**11, "1 TB": 10**12, "10 TB": 10**13}
NETWORKS = {"1 Gbit/s": 1e9, "10 Gbit/s": 1e10, "100 Gbit/s": 1e11, "400 Gbit/s": 4e11}
COUNTS = (1, 8, 64)


@cache
def preset(name: str, processes: int, method: str = "adamw") -> Preset:
    """Return the preset of a model that sees ``UPDATE_TOKENS`` in an update of so many processes."""
    sizes = dict(MODELS[name])
    batch = min(sizes["batch"], UPDATE_TOKENS // 512 // processes)
    sizes |= {"batch": batch, "accumulation": UPDATE_TOKENS // 512 // processes // batch}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.yaml"
        path.write_text(PRESET.format(**sizes, method=method), "utf-8")
        return load_preset(path)


@cache
def alone(name: str, method: str = "adamw") -> Estimate:
    """Return the estimate of a model on one H100."""
    return estimate(preset(name, 1, method), GPUS["h100"])


def spread(name: str, processes: int, strategy: str, method: str = "adamw") -> Estimate:
    """Return the estimate of a model on several H100, from that of its step on one."""
    many = Spread(processes=processes, hosts=-(-processes // 8), strategy=strategy)  # type: ignore[arg-type]
    one, training = alone(name, method), preset(name, processes, method).training
    return one.with_spread(many, accumulation=training.gradient_accumulation_steps)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def memory_table() -> str:
    """Memory of a process."""
    rows = []
    for name in MODELS:
        memory, parameters = alone(name).memory, sum(alone(name).parameters.values())
        row = [name, f"{parameters:,}"]
        row += [size(memory.weights), size(memory.state), size(memory.working)]
        for processes, strategy in ((1, "ddp"), (8, "fsdp"), (64, "fsdp")):
            made = spread(name, processes, strategy)
            row.append(size(made.needed) + ("" if made.fits() else " (no)"))
        rows.append(row)
    header = ["model", "parameters", "weights", "state", "micro-batch", "1, or ddp", "8 fsdp", "64 fsdp"]
    return table(header, rows)


def traffic_table() -> str:
    """Bytes that a process sends in an update, and the seconds at several rates."""
    rows = []
    for name in MODELS:
        for strategy in ("ddp", "fsdp"):
            made = spread(name, 64, strategy)
            assert made.seconds is not None
            row = [name, strategy, str(made.accumulation), size(made.sent), duration(made.seconds)]
            rows.append(row + [duration(8 * made.sent / rate) for rate in NETWORKS.values()])
    return table(["model", "strategy", "micro-batches", "sent", "computing", *NETWORKS], rows)


def muon_table() -> str:
    """What a process holds, computes and sends for Muon, alone and as one of the eight of a host."""
    rows = []
    for name in MODELS:
        row = [name]
        for processes in (1, 8):
            made = spread(name, processes, "ddp", "muon")
            flops = made.spread.step_flops(made.memory)
            row += [size(made.spread.state(made.memory)), number(flops) + "FLOP"]
        rows.append([*row, size(made.sent), size(spread(name, 8, "ddp").sent)])
    header = ["model", "state alone", "step alone", "state of 8", "step of 8", "sent", "sent with AdamW"]
    return table(header, rows)


def hours_table() -> str:
    """The time of one pass over a corpus."""
    rows = []
    for corpus, count in CORPORA.items():
        for name in MODELS:
            row = [corpus, number(count / BYTES_PER_TOKEN).strip(), name]
            for processes in COUNTS:
                made = attrs.evolve(spread(name, processes, "fsdp"), corpus=count)
                assert made.seconds is not None
                assert made.updates_of_corpus is not None
                row.append(duration(made.seconds * made.updates_of_corpus))
            rows.append(row)
    return table(["corpus", "tokens", "model", *(f"{n} H100" for n in COUNTS)], rows)


def disk_table() -> str:
    """Disk of a run."""
    rows = [
        [
            name,
            size(alone(name).disk.checkpoint),
            size(alone(name).disk.checkpoints),
            size(alone(name).disk.model),
        ]
        for name in MODELS
    ]
    return table(["model", "a checkpoint", "kept by default", "finished model"], rows)


def cache_table() -> str:
    """The token cache of a corpus."""
    disks = {corpus: estimate_cache(count) for corpus, count in CORPORA.items()}
    return table(["corpus", "token cache"], [[corpus, size(count)] for corpus, count in disks.items()])


def estimate_cache(corpus: int) -> int:
    """Return the bytes of the token cache of a corpus."""
    cache_bytes = alone("100 M").with_corpus(preset("100 M", 1), corpus).disk.token_cache
    assert cache_bytes is not None
    return cache_bytes


TABLES = {
    "memory": memory_table,
    "traffic": traffic_table,
    "muon": muon_table,
    "hours": hours_table,
    "disk": disk_table,
    "cache": cache_table,
}


def written(text: str) -> str:
    """Return the page with all tables anew."""
    for name, make in TABLES.items():
        before, mark, rest = text.partition(MARK.format(name))
        _, end, after = rest.partition(END)
        text = f"{before}{mark}\n{make()}\n{end}{after}"
    return text


def main(arguments: list[str]) -> Iterator[str]:
    """Write the page, or check it."""
    text = PAGE.read_text("utf-8")
    new = written(text)
    if "--check" in arguments and new != text:
        yield "docs/scaling.md is not what docs/scaling.py writes; run it"
        return
    if "--check" not in arguments:
        PAGE.write_text(new, "utf-8")


if __name__ == "__main__":
    problems = list(main(sys.argv[1:]))
    print("\n".join(problems) or "docs/scaling.md is up to date")
    sys.exit(bool(problems))
