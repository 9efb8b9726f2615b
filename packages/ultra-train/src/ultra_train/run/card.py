"""The model card of a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ultra_train.config import Preset
from ultra_train.tasks.base import CardText

CARD = """---
library_name: {library}
{pipeline_tag}{metadata}tags: [{tags}]
---

# {title}

{summary}

Trained with ultra-train from the preset `{name}`: {steps:,} updates, {tokens:,} tokens,
{parameters:,} parameters.

## Data

{data}

## Results on held-out texts

{results}

## Use

{usage}
"""


def write_card(
    folder: Path,
    preset: Preset,
    task: CardText,
    metrics: Mapping[str, float],
    trainer: Any,
    *,
    data: Sequence[str],
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write ``README.md`` into the folder of a model.

    Args:
        folder: folder of the model.
        preset: what it was trained from.
        task: tags, summary and usage for the models of the task.
        metrics: those of the finished model.
        trainer: the trainer, which counts updates and tokens.
        data: a line about each source of the data.
        fields: further fields of the front matter; ``tags`` adds to those of the task, and ``model_name``
            is the title.
    """
    more = {name: value for name, value in fields.items() if name not in ("tags", "model_name")}
    names = [k for k in sorted(metrics) if k.startswith("eval_") and not k.endswith(("_second", "_runtime"))]
    rows = [f"| {k.removeprefix('eval_')} | {metrics[k]:.4f} |" for k in names]
    text = CARD.format(
        name=preset.name,
        title=fields.get("model_name") or preset.name,
        metadata="".join(f"{name}: {json.dumps(value)}\n" for name, value in more.items()),
        library=task.library,
        pipeline_tag=f"pipeline_tag: {task.pipeline_tag}\n" if task.pipeline_tag else "",
        tags=", ".join(dict.fromkeys(("ultra", *task.tags, *fields.get("tags", ())))),
        summary=preset.meta.summary or task.summary,
        steps=trainer.state.global_step,
        tokens=trainer.tokens_seen,
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        data="\n".join(f"- {line}" for line in data),
        results="\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "None were held out.",
        usage=task.usage or "Load it as the documentation of its task says.",
    )
    (folder / "README.md").write_text(text, "utf-8")
