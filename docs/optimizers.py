"""Write ``docs/optimizers/``: a page for every optimizer of ultra-optim, from its docstring and signature.

    python docs/optimizers.py            # write stale pages
    python docs/optimizers.py --check    # list stale pages; exit code 1 if there are any

The plots and the tables of convergence come from ``python benchmarks/optimizers.py --quality``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ultra_core import optimizers
from ultra_core.plugins.describe import OptionRow, describe
from ultra_core.plugins.metadata import Entry
from ultra_optim.contract.facts import facts
from ultra_optim.contract.traits import OptimizerTraits, traits_of

FOLDER = Path(__file__).with_suffix("")

NEEDS = {
    "matrix": "Needs groups with a `kind`, from `build` or `param_groups` of `ultra_optim`.",
    "needs_total_steps": "Needs `total_steps`, the number of updates of the run; ultra's trainer passes it.",
    "eval_weights": "Call `optimizer.eval()` before evaluating or saving and `optimizer.train()` after; "
    "ultra's trainer does it.",
    "own_schedule": "Leave the learning rate constant.",
    "needs_curvature": "Call `optimizer.curvature_step` when `curvature_due` is true; "
    "ultra's trainer does it.",
    "needs_logits": "Needs the model, whose attention blocks record their logits; `build` of `ultra_optim` "
    "passes it. Call `step()` once after the backward passes of an update.",
    "one_lr": "Learning rates of roles multiply its one learning rate.",
    "idle_first_step": "The first step moves nothing.",
}
"""What a training loop has to do, by trait."""

INDEX = """\
# Optimizers

Each page has the formula, the options, the size of the state, the differences from the paper, and the
path on two functions of two variables. How well each optimizer trains: [small problems](quality.md),
[a small encoder](encoder.md).
`python docs/optimizers.py` writes the pages; `python benchmarks/optimizers.py --quality` makes the plots and
tables.

The size of the state is given in numbers of four bytes for a matrix of n elements; longer and shorter are
its sides, rank is the option. "Matrices" are hidden matrices, each expert of a stacked weight and each row
block of a fused projection; the rest are embeddings, heads, norms, biases, gates, routers and
convolutions.

| name | state | treats | paper |
| --- | --- | --- | --- |
{rows}
"""

_FORMULA = re.compile(r"<-|^[\w'()]{1,6} = ")


def pages() -> dict[str, str]:
    """Return the text of every file by its name."""
    entries = [entry for entry in optimizers.entries() if entry.distribution == "ultra-optim"]
    found = {f"{entry.name}.md": page(entry) for entry in entries}
    rows = "\n".join(f"| [`{e.name}`]({e.name}.md) | {' | '.join(_facts(e))} |" for e in entries)
    return {"README.md": INDEX.format(rows=rows), **found}


def _facts(entry: Entry) -> tuple[str, str, str]:
    said = facts(inspect.getdoc(entry.load()) or "")
    paper = f"[{said.paper}](https://arxiv.org/abs/{said.paper})" if said.paper else ""
    return said.state, said.treats, paper


def page(entry: Entry) -> str:
    """Return the page of an optimizer."""
    cls = entry.load()
    said = describe(cls)
    state, treats, paper = _facts(entry)
    differs = said.differs[:1].upper() + said.differs[1:].replace("\nDiffers from", "\n\nDiffers from")
    body = re.sub(r"^State: .*$", "", said.body, flags=re.MULTILINE)
    parts = [
        f"# `{entry.name}`",
        markdown(said.summary),
        markdown(body),
        f"| class | state of a matrix | treats | paper |\n| --- | --- | --- | --- |\n"
        f"| `ultra_optim.{cls.__name__}` | {state} | {treats} | {paper} |",
        "\n".join(f"- {need}" for need in _needs(traits_of(cls))),
        f"![Its path on Rosenbrock's and Beale's functions](plots/{entry.name}.svg)",
        "## Options",
        options([row for row in said.options if row.settable]),
        "## Differs from the paper",
        markdown(differs),
        "[All optimizers](README.md), [how well they train](quality.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _needs(traits: OptimizerTraits) -> Iterator[str]:
    return (text for name, text in NEEDS.items() if getattr(traits, name))


def options(rows: list[OptionRow]) -> str:
    """Return the table of options."""
    lines = ["| option | default | values | meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        cells = (
            f"`{row.name}`",
            f"`{row.default}`" if row.default else "required",
            row.type,
            inline(row.doc),
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def markdown(text: str) -> str:
    """Turn paragraphs of a docstring into Markdown; formulas become code."""
    paragraphs = []
    for paragraph in re.split(r"\n\n+", text.strip()):
        lines = paragraph.splitlines()
        literal = all(line.startswith("    ") for line in lines)
        if literal or 2 * sum(bool(_FORMULA.search(line)) for line in lines) >= len(lines) > 0:
            code = (inspect.cleandoc(paragraph) if literal else paragraph).replace("``", "")
            paragraphs.append(f"```text\n{code}\n```")
        elif paragraph != "::":
            paragraphs.append(re.sub(r"::$", ":", inline(paragraph)))
    return "\n\n".join(paragraphs)


def inline(text: str) -> str:
    """Turn the roles and literals of a docstring into Markdown's."""
    text = re.sub(r":\w+:`~?(?:[\w]+\.)*(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def stale() -> dict[str, str]:
    """Return the pages that are missing or stale, with their new text."""
    return {
        name: text
        for name, text in pages().items()
        if not (file := FOLDER / name).is_file() or file.read_text(encoding="utf-8") != text
    }


def main() -> None:
    """Write or check."""
    changed = stale()
    for name, text in changed.items():
        print(f"stale: docs/optimizers/{name}" if "--check" in sys.argv else f"docs/optimizers/{name}")
        if "--check" not in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(text, encoding="utf-8")
    if changed and "--check" in sys.argv:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
