"""How well small encoders train in the same wall time: ultra, and ModernBERT in transformers' Trainer.

    python benchmarks/quality.py --text corpus.txt.gz

Every side trains in a process of its own, one after another, for ``--minutes`` of its training loop (start-up
is not counted), 256 wide, 4 layers, with the same 16,000 pieces, the same paragraphs and the same number of
tokens an update. What is printed is the mean loss in nats at the same masked positions (15 %) of the same
held-out paragraphs, each on its own. A first short run measures the time of an update, from which the length
of the schedule follows; the clock ends a run that is slower than that.

* ``modernbert``: ModernBertForMaskedLM on full rows, fused AdamW at three rates, warm-up and linear decay;
* ``baseline``: ours with softmax attention and AdamW at 1e-3, mask rate 0.15;
* ``es_small_cpu``: the preset; with ``--steps`` also the baseline with one more of its choices at a time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import harness
import quality_sides as sides

HELD_OUT = 1_500
RATES = (3e-4, 1e-3, 3e-3)


def split(text: Path, folder: Path) -> None:
    """Write the paragraphs to train on and those that are held out."""
    with gzip.open(text, "rt") if text.suffix == ".gz" else text.open() as file:
        paragraphs = [line.strip() for line in file if line.strip()]
    random.Random(0).shuffle(paragraphs)
    (folder / "held_out.txt").write_text("\n".join(paragraphs[:HELD_OUT]))
    (folder / "train.txt").write_text("\n".join(paragraphs[HELD_OUT:]))


def arms(*, steps: bool) -> dict[str, sides.Arm]:
    """Return what is compared: the preset last, after the peers or after the steps that lead to it."""
    ours = {name: sides.Ultra(changes) for name, changes in sides.steps()}
    baseline, *_, preset = ours
    if steps:
        return dict(ours)
    peers = {f"modernbert, {rate:g}": sides.ModernBert(rate) for rate in RATES}
    return {**peers, baseline: ours[baseline], preset: ours[preset]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True, help="a text file, one paragraph a line")
    parser.add_argument("--minutes", type=float, default=9.0, help="training time of a side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these sides; all by default")
    parser.add_argument(
        "--steps", action="store_true", help="what each choice of the preset gains, instead of the peers"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache/quality"))
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.cache.resolve()
    found = arms(steps=options.steps)
    if options.arm:
        print(json.dumps(sides.run(found[options.arm], folder, options.minutes, options.threads)))
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.txt").exists():
        split(options.text, folder)
    sides.tokenizer(folder)
    rows = []
    for name in options.only or found:
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--arm", name],
                capture_output=True, text=True, env={**os.environ, "TMPDIR": scratch},
            )  # fmt: skip
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            [name, f"{result['loss']:.3f}", f"{result['accuracy']:.1%}", f"{result['updates']:,}",
             f"{result['tokens']:,}", f"{result['parameters']:,}"]
        )  # fmt: skip
        print(f"{name}: {result['loss']:.3f} nats", file=sys.stderr, flush=True)
    header = ["side", "nats", "masked tokens right", "updates", "real tokens", "parameters"]
    print(f"{options.minutes:g} minutes each, {options.threads} threads, {HELD_OUT:,} held-out paragraphs\n")
    print(harness.table(header, rows))


if __name__ == "__main__":
    main()
