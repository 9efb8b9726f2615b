"""Adding a task touches one folder and one entry-point line: nothing outside ``tasks/`` names one.

Rooms that work with the models of several tasks name these where they say what to do.
"""

import re
from pathlib import Path

import pytest

import ultra_train
from ultra_core import tasks
from ultra_train.config.declared_tasks import untrainable
from ultra_train.tasks.sparse.sections import Architecture

SOURCES = Path(ultra_train.__path__[0])
ADVISING = ("embeddings", "search", "pipeline")
KNOWN = {*tasks.names(), *untrainable.names(), *Architecture.__args__} - {"sparse"}
KNOWN -= {"csr"}  # which is the name of a layout of sparse matrices, too
KNOWN |= {name.replace("-", "_") for name in KNOWN}


VALUES = ("ddsc.py",)
"""Files with values of published data that are called like a task."""


def outside():
    return [
        file
        for file in SOURCES.rglob("*.py")
        if file.relative_to(SOURCES).parts[0] not in ("tasks", "presets", *ADVISING)
        and file.name not in VALUES
    ]


def test_the_known_tasks_are_these():
    assert {"mlm", "sbert", "splade", "inference_free_splade"} <= KNOWN


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_no_source_outside_tasks_names_it(name):
    word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
    found = {
        f"{file.relative_to(SOURCES)}:{number}"
        for file in outside()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if word.search(line)
    }
    assert not found


def test_no_source_outside_tasks_imports_one():
    imported = re.compile(r"ultra_train\.tasks\.(?!base\b|loading\b|texts\b)\w+")
    assert not [f for f in outside() if imported.search(f.read_text())]
