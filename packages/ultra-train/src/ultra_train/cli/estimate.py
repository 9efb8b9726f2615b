"""``ultra-train estimate``: what a run takes, before it starts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from ultra_core.errors import UltraError

if TYPE_CHECKING:
    from ultra_train.estimate.estimate import Estimate
    from ultra_train.estimate.fitting import Fit, Sizes

DEVICE_MEMORY = "device"
"""The value of ``--fit-memory`` without a size."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


@click.command()
@click.argument("preset")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key: training.seed=7.")
@click.option("--device", "--gpu", "device", help="cpu, p40, rtx3090, rtx4090, a100, h100, h200 [this one].")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="Devices that train together [1].")
@click.option("--hosts", type=click.IntRange(min=1), default=1, help="Machines that they are in [1].")
@click.option("--corpus", metavar="SIZE", help="Bytes of text, such as 10GB, for disk and time.")
@click.option("--measure", is_flag=True, help="Measure the rate of this machine's CPU (half a second).")
@click.option(
    "--fit-memory",
    is_flag=False,
    flag_value=DEVICE_MEMORY,
    metavar="[SIZE]",
    help="Find settings that fit into SIZE, such as 24GB, or into the device.",
)
@click.option("--allow-shorten", is_flag=True, help="Let --fit-memory shorten max_length to 384, then 256.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def estimate(
    preset: str,
    overrides: tuple[str, ...],
    device: str | None,
    processes: int,
    hosts: int,
    corpus: str | None,
    measure: bool,
    fit_memory: str | None,
    allow_shorten: bool,
    as_json: bool,
) -> None:
    """Print what a run of PRESET takes: parameters, memory, time, disk and traffic.

    Neither the model nor the data are loaded; base models need their config on this machine, or must be
    among those whose sizes are known. GB are 10^9 bytes, GiB 2^30.
    """
    from ultra_train.config import load_common
    from ultra_train.estimate.devices import find_device, measured
    from ultra_train.estimate.estimate import estimate as estimated
    from ultra_train.estimate.fitting import fit
    from ultra_train.estimate.spread import Spread

    if allow_shorten and fit_memory is None:
        raise click.UsageError("--allow-shorten does nothing without --fit-memory; give both")
    chosen = find_device(device)
    chosen = measured(chosen) if measure else chosen
    size = None if corpus is None else parse_size(corpus, "--corpus")
    memory = None if fit_memory in (None, DEVICE_MEMORY) else parse_size(fit_memory or "", "--fit-memory")

    def at(sizes: Sizes | None) -> Estimate:
        loaded = load_common(preset, [*overrides, *(sizes.overrides if sizes else ())], what="estimate")
        sharded = loaded.training.distributed == "fsdp"
        spread = Spread(processes=processes, hosts=hosts, strategy="fsdp" if sharded else "ddp")
        return estimated(loaded, chosen, spread, corpus=size)

    first = at(None)
    steps = [] if fit_memory is None else list(fit(first, at, memory=memory, shorten=allow_shorten))
    if as_json:
        click.echo(json.dumps(_tree(steps[-1].estimate if steps else first, steps), indent=2))
    else:
        _print(steps[-1].estimate if steps else first, steps, allow_shorten)
    if steps and not steps[-1].fits:
        raise click.exceptions.Exit(1)


def parse_size(text: str, option: str) -> int:
    """Return the bytes that a text such as ``24GB`` or ``22.5 GiB`` means.

    Raises:
        UltraError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UltraError(f"{option} {text!r} is no size; write it as 24GB, 22.5GiB or 800MB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** (" kmgt".index(match[2].lower() or " ")))


def _print(made: Estimate, steps: list[Fit], shortened: bool) -> None:
    from ultra_train.estimate.text import fitting_line, lines

    for line in lines(made):
        click.echo(line)
    if not steps:
        return
    click.echo("")
    for step in steps:
        click.echo(fitting_line(step))
    if not steps[-1].fits:
        click.echo(advice(shortened))
    elif len(steps) > 1:
        click.echo("run it with: " + " ".join(f"--set {each}" for each in steps[-1].sizes.overrides))


def advice(shortened: bool) -> str:
    """Return what is left to do when the smallest micro-batch does not fit."""
    shorter = "" if shortened else "allow shorter rows (--allow-shorten); "
    return (
        f"nothing fits: {shorter}set training.activation_checkpointing=true; or take a compact preset: "
        "ultra-train list presets --guide lowest_vram"
    )


def _tree(made: Estimate, steps: list[Fit]) -> dict[str, Any]:
    import attrs

    tree = attrs.asdict(made)
    tree |= {"needed": made.needed, "fits": made.fits(), "seconds": made.seconds, "hours": made.hours}
    tree["memory"]["peak"] = made.memory.peak
    if steps:
        tree["fit_memory"] = [
            {**attrs.asdict(step.sizes), "needed": step.estimate.needed, "fits": step.fits} for step in steps
        ]
    return tree
