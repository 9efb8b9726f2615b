"""Estimated and measured peak memory of an update on the CPU, preset by preset.

``python benchmarks/memory.py`` prints the table of ``docs/scaling.md``; ``--batch-size`` and ``--max-length``
choose the micro-batch, ``--set`` anything else. A measured update needs the memory and the time that it says.
"""

from __future__ import annotations

import argparse

from harness import table

from ultra_train.config import load_preset
from ultra_train.estimate.dry_run import dry_run
from ultra_train.estimate.estimate import task_of
from ultra_train.estimate.measured import measured_peak
from ultra_train.trainer.plugins import optimizer_builder

PRESETS = ("mini", "embbert", "tinybert", "standard", "standard_hope", "frankenstein")


def row(name: str, overrides: list[str]) -> list[str]:
    """Return the row of a preset."""
    preset = load_preset(name, overrides)
    step, build = task_of(preset).dry_step(preset, device_type="cpu"), optimizer_builder(preset.training)
    accumulation = preset.training.gradient_accumulation_steps
    run = dry_run(step, build_optimizer=build, accumulation=accumulation, autocast=None, on_cpu=True)
    estimated, measured = run.memory.peak, measured_peak(step, build, accumulation=accumulation)
    rows = f"{preset.training.batch_size} x {step.max_length}"
    sizes = [f"{count / 1e6:,.1f} MB" for count in (estimated, measured)]
    return [f"`{name}`", rows, *sizes, f"{100 * (estimated / measured - 1):+.1f} %"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    sizes = [f"training.batch_size={given.batch_size}", f"training.max_length={given.max_length}"]
    rows = [row(name, [*sizes, *given.set]) for name in given.presets]
    print(table(["preset", "micro-batch", "estimated", "measured", "difference"], rows))


if __name__ == "__main__":
    main()
