"""``run --fit-memory`` before it starts: settings that fit, by the estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import psutil

from ultra_core.errors import UltraError
from ultra_train.config import load_common
from ultra_train.estimate.devices import Device, find_device, this_cpu, this_gpu
from ultra_train.estimate.estimate import Estimate, estimate
from ultra_train.estimate.fitting import Sizes, fit
from ultra_train.estimate.spread import Spread
from ultra_train.estimate.text import fitting_line
from ultra_train.system.processes import Processes


def fitting_overrides(
    name: str,
    overrides: Sequence[str],
    *,
    device: str | None,
    here: Processes,
    shorten: bool,
    say: Callable[[str], None],
) -> tuple[str, ...]:
    """Return settings with which a preset fits into the memory of the device; none where it fits as it is.

    Args:
        name: the preset.
        overrides: settings of the command line.
        device: ``cpu``, ``cuda`` or ``mps``; None: the best one of this machine.
        here: the processes of the run; each needs the memory of a device, or its share of the host's.
        shorten: whether rows may be shortened.
        say: is called with a line about each step.

    Raises:
        UltraError: nothing fits.
    """
    chosen = _device(device, here)

    def at(sizes: Sizes | None) -> Estimate:
        preset = load_common(name, [*overrides, *(sizes.overrides if sizes else ())], what="--fit-memory")
        sharded = preset.training.distributed == "fsdp"
        spread = Spread(processes=here.count, strategy="fsdp" if sharded else "ddp")
        return estimate(preset, chosen, spread)

    first = at(None)
    steps = []
    for step in fit(first, at, memory=None, shorten=shorten):
        steps.append(step)
        say(f"--fit-memory: {fitting_line(step)}")
    if not steps[-1].fits:
        shorter = "" if shorten else "allow shorter rows (--allow-shorten), "
        raise UltraError(
            f"--fit-memory: not even a single row fits into {chosen.title}; {shorter}set "
            "training.activation_checkpointing=true, or take a compact preset (ultra-train list presets "
            "--guide lowest_vram)"
        )
    return () if len(steps) == 1 else steps[-1].sizes.overrides


def _device(name: str | None, here: Processes) -> Device:
    if name is None:
        chosen = find_device(None)
    else:
        chosen = (this_gpu() if name.startswith("cuda") else None) or this_cpu()
    if chosen.kind == "cpu" and here.several:  # alike on all processes, whatever is free at the moment
        return attrs.evolve(chosen, memory=psutil.virtual_memory().total // here.local_count)
    return chosen
