"""The hooks ``plugin_name``: a table of the weights of every finished run, ``weights.csv`` in its folder."""

from __future__ import annotations

import csv
from typing import Any

from ultra_core.plugins.hooks import Run, hookimpl


@hookimpl
def ultra_run_finished(run: Run) -> None:
    """Write name, shape and size (root mean square) of every parameter of the finished model."""
    with (run.path / "weights.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("parameter", "shape", "root mean square"))
        table.writerows(rows(run.model))


def rows(model: Any) -> list[tuple[str, str, str]]:
    """Return a row of the table for each parameter of a ``torch.nn.Module``."""
    found = []
    for name, parameter in model.named_parameters():
        size = parameter.detach().float().square().mean().sqrt().item()
        found.append((name, "x".join(map(str, parameter.shape)), f"{size:.6g}"))
    return found
