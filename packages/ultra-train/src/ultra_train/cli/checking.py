"""Importing plugins in another process, so that a broken one cannot end the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ultra_core.plugins.metadata import Entry

PROBE = """
import json, sys
from ultra_core.plugins.metadata import Entry
for line in sys.stdin:
    entry = Entry(**json.loads(line))
    try:
        entry.load()
        why = ""
    except Exception as error:
        why = str(error)
    print("\\0" + json.dumps(why), flush=True)
"""
"""Imports the entries that it reads and answers with a line each, whatever plugins print in between."""

Found = list[tuple[str, Entry, str]]


def broken(shown: Mapping[str, Sequence[Entry]]) -> Found:
    """Import every entry in a child process and return those that fail: (kind, entry, reason).

    One child imports as many as it survives; after one that ends it (``sys.exit``, a crash), another goes on.
    """
    waiting = [(kind, entry) for kind, entries in shown.items() for entry in entries if entry.value is None]
    found: Found = []
    while waiting:
        answers, ending = _probe([entry for _, entry in waiting])
        found += [(*waiting[i], why) for i, why in enumerate(answers) if why]
        waiting = waiting[len(answers) :]
        if waiting:
            found.append((*waiting[0], f"importing it ends the process: {ending}"))
            waiting = waiting[1:]
    return found


def _probe(entries: Sequence[Entry]) -> tuple[list[str], str]:
    """Return the answers of one child, and how it ended."""
    fields = ("name", "distribution", "version", "target")
    lines = [json.dumps({field: getattr(entry, field) for field in fields}) for entry in entries]
    child = subprocess.run(
        [sys.executable, "-c", PROBE],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    answers = [json.loads(line[1:]) for line in child.stdout.splitlines() if line.startswith("\0")]
    last = next((line for line in reversed(child.stderr.splitlines()) if line.strip()), "")
    return answers, f"exit code {child.returncode}{f' ({last.strip()})' if last else ''}"
