"""Guards against numbers that are not finite: which update is dropped, and when a run goes back or stops."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ultra_core.errors import UltraError
from ultra_train.hf.preserve_state import preserve_state
from ultra_train.system import files
from ultra_train.trainer.stream import Position


class TrainingDiverged(UltraError):
    """Losses or gradients stayed non-finite after everything that a run may try."""


class RollbackNeeded(Exception):
    """Too many updates were dropped in a row: the run returns to its last good checkpoint."""


@attrs.define(kw_only=True)
class Guard:
    """Judges every update before it touches the weights.

    Attributes:
        threshold: gradient norm before clipping above which an update is dropped
            (``inf_post_clip_threshold``).
        patience: updates dropped in a row after which the run goes back (``max_nan_retries``).
        scan_every: updates between scans of all weights (``nan_check_interval``).
        dropped: updates dropped so far.
        in_a_row: of these, how many since the last one that counted.
        offending: positions of the micro-batches of the present row of drops.
    """

    threshold: float = math.inf
    patience: int = 3
    scan_every: int = 10
    dropped: int = 0
    in_a_row: int = 0
    offending: list[Position] = attrs.field(factory=list)

    def objection(self, loss: float, norm: float) -> str | None:
        """Say why an update with this loss and gradient norm must not happen, or None."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient norm is {norm}"
        if norm > self.threshold:
            return f"the gradient norm {norm:.4g} is above inf_post_clip_threshold {self.threshold:g}"
        return None

    def note_dropped(self, positions: Iterable[Position]) -> None:
        """Count a dropped update and remember what it was computed on."""
        self.dropped += 1
        self.in_a_row += 1
        self.offending.extend(positions)

    def note_taken(self) -> None:
        """Count an update that happened."""
        self.in_a_row = 0
        self.offending.clear()

    @property
    def row(self) -> dict[str, Any]:
        """The present row of drops, for a checkpoint; what a resumed run is given back."""
        return {"in_a_row": self.in_a_row, "offending": self.offending}

    @row.setter
    def row(self, facts: Mapping[str, Any]) -> None:
        count = facts.get("in_a_row", 0)
        self.in_a_row = count if type(count) is int else 0
        self.offending = positions(facts.get("offending")) or []

    @property
    def exhausted(self) -> bool:
        """Whether so many updates were dropped in a row that the run must go back."""
        return self.in_a_row > 0 and self.in_a_row >= self.patience


@attrs.define
class Rollbacks:
    """What the run left out when it went back; kept in a file, so that a resumed run leaves it out too.

    Attributes:
        path: the file.
        skipped: positions of the micro-batches that are left out.
        count: how often the run went back.
        events: what ``metrics.jsonl`` says of it.
    """

    path: Path
    skipped: list[Position] = attrs.field(factory=list)
    count: int = 0
    events: list[dict[str, Any]] = attrs.field(factory=list)

    @classmethod
    def read(
        cls,
        path: Path,
        *,
        checkpoint: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> Rollbacks:
        """Read the file, or start without any.

        A file that cannot be read is renamed; what the checkpoint knows then counts.

        Args:
            path: the file.
            checkpoint: the same facts in the checkpoint that the run goes on from.
            say: hears of a file that is not used.
        """
        known = cls._of(path, checkpoint or {}) or cls(path)
        if not path.exists():
            return known
        try:
            here = cls._of(path, files.read_json(path))
        except (OSError, ValueError):
            here = None
        if here is None:
            aside = files.set_aside(path)
            say(f"{path} is damaged; it is now {aside.name}, and what the checkpoint knows of it is used")
            return known
        return here if here.count >= known.count else known

    @classmethod
    def _of(cls, path: Path, facts: Any) -> Rollbacks | None:
        if not isinstance(facts, Mapping) or type(count := facts.get("count", 0)) is not int or count < 0:
            return None
        skipped, events = positions(facts.get("skipped", [])), facts.get("events", [])
        if skipped is None or not isinstance(events, list) or not all(isinstance(e, dict) for e in events):
            return None
        return cls(path, skipped, count, events)

    @property
    def facts(self) -> dict[str, Any]:
        """What a file or a checkpoint keeps."""
        return {"count": self.count, "skipped": self.skipped, "events": self.events}

    def add(self, positions: Iterable[Position], event: Mapping[str, Any] | None = None) -> None:
        """Count a rollback that leaves out these micro-batches, and what is said of it."""
        self.skipped.extend(positions)
        self.count += 1
        if event is not None:
            self.events.append(dict(event))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path, json.dumps(self.facts))


def positions(value: Any) -> list[Position] | None:
    """Return a list of epochs and indices as JSON gives it, or None when it is none."""
    if not isinstance(value, (list, tuple)):
        return None
    pairs = [p for p in value if isinstance(p, (list, tuple)) and len(p) == 2]
    whole = [(e, i) for e, i in pairs if type(e) is int and type(i) is int]
    return whole if len(whole) == len(value) else None


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every element of every tensor is finite; one pass, one synchronisation."""
    floats = [t.detach() for t in tensors if t.is_floating_point()]
    return not floats or bool(torch.nn.utils.get_total_norm(floats, norm_type=math.inf).isfinite())


def first_bad_module(model: nn.Module, passes: Iterable[Callable[[], Any]]) -> str:
    """Name where non-finite numbers come from: the first module in forward order that makes them.

    Runs the model once more without gradients; generators and buffers are left as they were. When every
    output is finite the fault is in the backward pass, and the last parameter with a non-finite gradient
    is named, which is the first that the backward pass met.

    Args:
        model: the model.
        passes: each runs it on a micro-batch of the update.
    """
    with preserve_state(model):
        for run in passes:
            if (name := _first_bad_output(model, run)) is not None:
                return name
    bad = [n for n, p in model.named_parameters() if p.grad is not None and not all_finite([p.grad])]
    if bad:
        return f"the gradient of {bad[-1]}"
    return "no module: outputs and single gradients are finite"


def _first_bad_output(model: nn.Module, run: Callable[[], Any]) -> str | None:
    first: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if not first and not all_finite(_tensors(output)):
                weights = [n for n, p in module.named_parameters() if not all_finite([p])]
                first.append(f"{name or 'the model'} ({type(module).__name__})")
                if weights:
                    first[0] += f", whose weight {weights[0]} is not finite"

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return first[0] if first else None


def _tensors(output: Any) -> Iterable[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors(value)
    elif attrs.has(type(output)):
        for field in attrs.fields(type(output)):
            yield from _tensors(getattr(output, field.name))
