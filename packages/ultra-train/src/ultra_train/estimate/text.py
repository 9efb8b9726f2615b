"""Estimates as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from ultra_train.estimate.devices import UTILISATION
from ultra_train.estimate.estimate import BYTES_PER_TOKEN, Estimate
from ultra_train.estimate.fitting import Fit

UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size(count: float) -> str:
    """Return a number of bytes with a unit; decimal, as disks and networks are sold."""
    for unit, name in UNITS:
        if abs(count) >= unit:
            return f"{count / unit:,.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return f"{count:.0f} B"


def number(count: float) -> str:
    """Return a large number of operations or parameters with an SI prefix."""
    for unit, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,.0f} "


def duration(seconds: float) -> str:
    """Return a time in the unit in which it is read."""
    for unit, name in ((86400 * 2, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / (86400 if name == 'days' else unit):,.1f} {name}"
    return f"{seconds:.3g} s"


def lines(made: Estimate) -> Iterator[str]:
    """Yield an estimate, one thing a line."""
    spread, memory = made.spread, made.memory
    several = ""
    if spread.processes > 1:
        hosts = f" on {spread.hosts} hosts" if spread.hosts > 1 else ""
        several = f", {spread.processes} processes{hosts} ({spread.strategy})"
    yield f"{made.preset} on {made.device.title}{several}, computed in {made.precision}"
    yield ""
    total = sum(made.parameters.values())
    yield f"parameters        {total:>16,}"
    for part, count in made.parameters.items():
        yield f"  {part:<16}{count:>16,}"
    yield ""
    alone = " of the whole model" if spread.strategy == "fsdp" and spread.processes > 1 else ""
    yield f"memory{alone}"
    for name, count in (
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer state", spread.state(memory)),
        ("activations", memory.activations),
        ("logits", memory.logits),
    ):
        yield f"  {name:<16}{size(count):>16}"
    yield f"  {'peak':<16}{size(made.peak):>16}  of all tensors at once{', a process' if several else ''}"
    allowance = made.device.allowance(made.peak)
    what = "process" if made.device.kind == "cpu" else "context, fragments"
    yield f"  {'with allowance':<16}{size(made.needed):>16}  ({size(allowance)} for {what})"
    if made.device.memory is not None:
        verdict = "fits into" if made.fits() else "does NOT fit into"
        yield f"  {verdict} {size(made.device.memory)} of {made.device.title}"
    yield ""
    yield from _time(made)
    yield from _disk(made)


def _time(made: Estimate) -> Iterator[str]:
    rows = f"{made.batch_size} x {made.accumulation} x {made.max_length}"
    if made.spread.processes > 1:
        rows += f" x {made.spread.processes} processes"
    yield f"update            {made.tokens:>16,} tokens ({rows})"
    yield f"  {'operations':<16}{number(made.flops) + 'FLOP':>16}" + (
        " a process" if made.spread.processes > 1 else ""
    )
    if made.seconds is not None and made.hours is not None:
        source = "measured" if made.device.measured else "peak"
        yield (
            f"  {'time':<16}{duration(made.seconds):>16}  at {UTILISATION:.0%} of the {source} rate of "
            f"{number(made.device.rates[made.precision])}FLOP/s"
        )
        yield f"run               {made.updates:>16,} updates, {duration(3600 * made.hours)}"
    else:
        hint = "; --measure measures it" if made.device.kind == "cpu" else ""
        yield f"  the rate of {made.device.title} in {made.precision} is not known{hint}"
        yield f"run               {made.updates:>16,} updates"
    if made.updates_of_corpus is not None and made.corpus is not None:
        time = "" if made.seconds is None else f", {duration(made.seconds * made.updates_of_corpus)}"
        tokens = number(made.corpus / BYTES_PER_TOKEN)
        yield (
            f"  {size(made.corpus)} of text is about {tokens}tokens; read once in "
            f"{made.updates_of_corpus:,} updates{time}"
        )
    if made.sent:
        yield f"  {'sent':<16}{size(made.sent):>16}  a process and update"
    yield ""


def _disk(made: Estimate) -> Iterator[str]:
    disk = made.disk
    yield f"disk              {size(disk.total):>16}"
    kept = round(disk.checkpoints / disk.checkpoint)
    yield f"  {'checkpoints':<16}{size(disk.checkpoints):>16}  {kept} of {size(disk.checkpoint)}"
    yield f"  {'model':<16}{size(disk.model):>16}"
    if disk.token_cache is None:
        yield "  the token cache takes half a byte for a byte of text (--corpus SIZE counts it)"
    else:
        yield f"  {'token cache':<16}{size(disk.token_cache):>16}"


def fitting_line(step: Fit) -> str:
    """Return a line about a step towards what fits."""
    sizes, made = step.sizes, step.estimate
    verdict = "fits" if step.fits else "too much"
    return (
        f"batch_size {sizes.batch_size} x {sizes.accumulation} accumulated, max_length {sizes.max_length}: "
        f"{size(made.needed)}{'' if step.limit is None else f' of {size(step.limit)}'}, {verdict}"
    )
