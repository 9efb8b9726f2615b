"""What guards, logs and checkpoints add to an update: the same run with and without them, in turn.

    python benchmarks/overhead.py

A 4-layer, 256-wide encoder trains on the embedded texts through ``execute``, as ``ultra-train run`` does:

* ``all``: the defaults of a preset: the gate judges every update, all weights are scanned every ten updates,
  statistics of gradients, ``metrics.jsonl``, the CSV table and TensorBoard have a line every ten updates;
* ``none``: the gate admits every update unseen, nothing is scanned, measured or written.

Processor time an update, of all threads, from the beginning of an update to that of the next one; the mean of
the timed updates of a round, since only every tenth is logged, and the median of the rounds. A checkpoint is
timed apart, and charged to as many updates as lie between two of them by default.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
import warnings
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import harness
import torch
from transformers import TrainerCallback

from ultra_core.plugins.hooks import hookimpl, plugin_manager
from ultra_train.config import load_preset
from ultra_train.run.execution import execute
from ultra_train.trainer.gate import UpdateGate

WARM_UP = 5
EVERY = 500
"""Updates between two checkpoints by default."""

PRESET = """\
model_class: frankenstein
model:
  vocab_size: 800
  hidden_size: 256
  num_layers: 4
  num_heads: 4
  retention_heads: 4
  layer_pattern: [standard_attn]
  norm_type: layer_norm
  use_moe: false
  use_hope: false
  ffn: mlp
  ffn_hidden_size: 1024
  dropout: 0.0
tokenizer:
  train: {{vocab_size: 800}}
training:
  task: mlm
  dataset: ultra:es-commands
  cache_dir: {cache}
  batch_size: {rows}
  max_length: 128
  gradient_accumulation_steps: 1
  eval_fraction: 0.0
  max_steps: {steps}
  optimizer:
    optimizer_class: adamw
    parameters: {{adamw-lr: 1.0e-4}}
"""
ALL = {"checkpoint_every_n_steps": None}  # the defaults, and one checkpoint in the middle
NONE = {
    "checkpoint_every_n_steps": 10**6, "telemetry_log_interval": 10**6, "nan_check_interval": 10**6,
    "log_gradient_stats": "false", "report_to": "[]",
}  # fmt: skip


class Stopwatch(TrainerCallback):
    """Processor time of every update, and of the checkpoints apart."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.saving: int | None = None

    def on_step_begin(self, args, state, control, **kwargs):
        self.began.append(time.process_time())

    def on_save(self, args, state, control, **kwargs):
        if self.saving is None:  # the last update saves too
            self.saving = state.global_step - 1

    @property
    def updates(self) -> list[float]:
        pairs = zip(self.began, self.began[1:], strict=False)
        return [after - before for before, after in pairs]


class Side:
    """A run with some keys of the preset changed; a hook brings the stopwatch."""

    def __init__(self, folder: Path, changes: dict[str, object], *, guarded: bool, rows: int, updates: int):
        self.folder, self.guarded, self.checkpoints = folder, guarded, []
        self.steps = updates + WARM_UP + 2
        every = changes["checkpoint_every_n_steps"] or self.steps // 2
        self.overrides = [
            f"training.{k}={v}" for k, v in (changes | {"checkpoint_every_n_steps": every}).items()
        ]
        self.preset = folder / "overhead.yaml"
        self.preset.write_text(PRESET.format(cache=folder / "cache", rows=rows, steps=self.steps))

    @hookimpl
    def ultra_callbacks(self, run):
        return [self.clock]

    def __call__(self) -> float:
        self.clock = Stopwatch()
        manager = plugin_manager()
        manager.register(self)
        judge = UpdateGate.judge if self.guarded else _admit
        try:
            with patch.object(UpdateGate, "judge", judge), contextlib.redirect_stdout(io.StringIO()):
                preset = load_preset(self.preset, self.overrides)
                execute(preset, output_dir=tempfile.mkdtemp(dir=self.folder), device="cpu")
        finally:
            manager.unregister(self)
        times = self.clock.updates
        saving = self.clock.saving if self.guarded else None
        timed = [t for i, t in enumerate(times) if i >= WARM_UP and i != saving]
        mean = sum(timed) / len(timed)
        if saving is not None:
            self.checkpoints.append(times[saving] - mean)
        return mean


def _admit(gate: UpdateGate, grad_norm: torch.Tensor) -> bool:
    gate.grad_norm = float("inf")  # so that gradients are clipped, as by any trainer
    gate._apply()
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=16, help="rows of 128 tokens in an update")
    parser.add_argument("--updates", type=int, default=20, help="timed updates of a side in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    common = {"rows": options.rows, "updates": options.updates}
    with tempfile.TemporaryDirectory() as made:
        sides = {
            "none": Side(Path(made), NONE, guarded=False, **common),
            "all": Side(Path(made), ALL, guarded=True, **common),
        }
        figures = harness.interleave(sides, options.rounds)
    seconds = {side: harness.median(found) for side, found in figures.items()}
    checkpoint = harness.median(sides["all"].checkpoints)
    added = seconds["all"] / seconds["none"] - 1
    rows = [[side, f"{1000 * s:.1f}", harness.spread(figures[side])] for side, s in seconds.items()]
    print(harness.table(["side", "processor ms an update", "spread"], rows))
    print(f"\nguards and logs: {added:+.2%} of an update")
    print(
        f"a checkpoint: {1000 * checkpoint:.0f} ms, {checkpoint / EVERY / seconds['none']:+.2%} of an update "
        f"at one every {EVERY}"
    )


if __name__ == "__main__":
    main()
