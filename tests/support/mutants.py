"""All mutants of the kits in one table; ``python -m support.mutants``, called in ``tests``, writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TESTS = Path(__file__).parents[1]
PAGE = TESTS / "mutants.md"

HEAD = """\
# Mutants of the conformance kits

Each is a correct plugin with one fault, and the named rule of the kit must find it. The tests run this table;
`python -m support.mutants`, called in this folder, writes this page.

| kit | file | mutant | rule | what the rule states |
|---|---|---|---|---|
"""


def tables() -> Iterator[tuple[str, str, list[tuple[str, Any]]]]:
    """Yield the kit, the module and the pairs of a rule's id and a mutant of every list of mutants."""
    files = (("blocks", "blocks.testing.mutants"), ("optimizers", "optim.testing.mutants"))
    for kit, package in files:
        folder = TESTS.joinpath(*package.split("."))
        for path in sorted(folder.glob("*.py")):
            module = f"{package}.{path.stem}"
            yield kit, module, [(row[0], row[1]) for row in import_module(module).MUTANTS]
    modules = {
        "schedules": "optim.testing.schedules.mutants",
        "tasks": "train.testing.task_mutants",
        "hooks": "train.testing.hook_mutants",
    }
    for kit, module in modules.items():
        yield kit, module, [(row[0], row[1]) for row in import_module(module).MUTANTS]


def statements() -> Mapping[tuple[str, str], str]:
    """Return what each rule states, by its kit and id."""
    from ultra_blocks.testing import FFN_RULES, NORM_RULES, POSITION_RULES, RULES
    from ultra_optim.testing import RULES as OPTIMIZER_RULES
    from ultra_optim.testing.schedules import SCHEDULE_RULES
    from ultra_train.testing import RULES as TRAINING_RULES
    from ultra_train.testing import HookCase, TaskCase

    kits = {
        "blocks": (RULES, FFN_RULES, NORM_RULES, POSITION_RULES),
        "optimizers": (OPTIMIZER_RULES,),
        "schedules": (SCHEDULE_RULES,),
        "tasks": (TRAINING_RULES[TaskCase],),
        "hooks": (TRAINING_RULES[HookCase],),
    }
    return {
        (kit, id): rule.statement
        for kit, rules in kits.items()
        for table in rules
        for id, rule in table.items()
    }


def page() -> str:
    """Return the table as Markdown."""
    states = statements()
    rows = [
        f"| {kit} | {module.rpartition('.')[2]} | {_words(mutant)} | {rule} | {states[kit, rule]} |"
        for kit, module, pairs in tables()
        for rule, mutant in pairs
    ]
    return HEAD + "\n".join(dict.fromkeys(rows)) + "\n"


def _words(mutant: Any) -> str:
    if isinstance(mutant, SimpleNamespace):  # hooks, of which the last has the fault
        *_, mutant = vars(mutant).values()
    return f"`{mutant.__name__}`"


if __name__ == "__main__":
    PAGE.write_text(page())
