"""The model card of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultra_train.config import Preset

CARD = """---
library_name: transformers
pipeline_tag: fill-mask
tags: [ultra, fill-mask]
---

# {name}

{summary}

Trained with ultra-train from the preset `{name}`: {steps:,} updates, {tokens:,} tokens,
{parameters:,} parameters.

## Data

{data}

## Results on held-out texts

{results}

## Use

```python
from transformers import pipeline

fill = pipeline("fill-mask", model="PATH", trust_remote_code=True)
```

It needs `pip install "ultra-blocks[transformers]"`. As an encoder of sentences:
`SentenceTransformer("PATH", trust_remote_code=True)` takes the mean of the token states; it was
not trained for similarity.
"""


def write_card(folder: Path, preset: Preset, metrics: Mapping[str, float], trainer: Any) -> None:
    """Write ``README.md`` into the folder of a model."""
    names = [k for k in sorted(metrics) if k.startswith("eval_") and not k.endswith(("_second", "_runtime"))]
    rows = [f"| {k.removeprefix('eval_')} | {metrics[k]:.4f} |" for k in names]
    dataset = preset.training.dataset
    sources = dataset if isinstance(dataset, tuple) else (dataset,)
    text = CARD.format(
        name=preset.name,
        summary=preset.meta.summary or "A masked language model.",
        steps=trainer.state.global_step,
        tokens=trainer.tokens_seen,
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        data="\n".join(f"- `{getattr(s, 'source', s)}`" for s in sources),
        results="\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "None were held out.",
    )
    (folder / "README.md").write_text(text, "utf-8")
