"""Checks of what importing a plugin does, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

from ultra_core.plugins.metadata import Entry
from ultra_core.testing import Finding

HEAVY = ("torch", "transformers", "datasets")

_PROBE = """
import sys
from importlib import import_module
import_module({module!r})
print("\\0" + ",".join(name for name in {heavy!r} if name in sys.modules))
"""


def check_import(case_entry: Entry) -> None:
    """Raise a Finding unless a plugin can be imported.

    Raises:
        Finding: why it cannot.
    """
    try:
        case_entry.load()
    except Exception as error:
        raise Finding(str(error)) from error


def check_light(entry: Entry) -> None:
    """Raise a Finding if importing the module of an entry imports torch or another large library.

    Raises:
        Finding: names these libraries.
    """
    module = entry.target.partition(":")[0]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(module=module, heavy=HEAVY)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    answer = next((line[1:] for line in done.stdout.splitlines() if line.startswith("\0")), None)
    if answer is None:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "")
        raise Finding(f"importing {module} by itself fails: {last.strip()}")
    if answer:
        raise Finding(f"importing {module} imports {answer.replace(',', ', ')}")
