"""Whether the tests notice a mutant."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mutants import Mutant, mutated
from tracing import environment, runs_at_import


def judge(tree: Path, mutant: Mutant, known: Mapping[str, Any], seconds: float) -> dict[str, str]:
    """Run the tests that run the mutant's line until one fails, and put the line back.

    Args:
        tree: a clone that may be changed.
        mutant: where this tree has it.
        known: what :func:`tracing.trace` returned.
        seconds: of tests, by the times they took without the mutant.

    Returns:
        the verdict, ``caught`` or ``survived``, and by which test or by how many.
    """
    tests = _in_order(tree, mutant, known)
    chosen, total = [], 0.0
    for test in tests:
        total += known["seconds"][test]
        if total > seconds and chosen:
            break
        chosen.append(test)
    if not chosen:
        return {"verdict": "survived", "by": "no test runs the line"}
    path = tree / mutant.file
    source = path.read_text("utf-8")
    try:
        path.write_text(mutated(source, mutant), "utf-8")
        code, output = _run(tree, chosen, seconds)
    finally:
        path.write_text(source, "utf-8")
    if code < 0:
        return {"verdict": "caught", "by": "the tests do not end"}
    if code:
        failed = [line for line in output if line.startswith(("FAILED", "ERROR"))]
        return {"verdict": "caught", "by": (failed or output[-1:] or ["no output"])[0][:200]}
    left = len(tests) - len(chosen)
    return {"verdict": "survived", "by": f"{len(chosen)} tests passed, {left} more run the line"}


def _in_order(tree: Path, mutant: Mutant, known: Mapping[str, Any]) -> list[str]:
    """Return the tests that run the line, those of the file of the same name first, and short ones first.

    A line that runs at import may matter to any test of its package: those come last.
    """
    seconds, tests = known["seconds"], set(known["runs"][mutant.name])
    others: set[str] = set()
    if runs_at_import((tree / mutant.file).read_text("utf-8"), mutant.line):
        folder = f"tests/{Path(mutant.file).parts[1].removeprefix('ultra-')}/"
        others = {test for test in seconds if test.startswith(folder)} - set(known["failed"]) - tests
    file = Path(mutant.file)
    name = f"/test_{file.parent.name if file.name == '__init__.py' else file.stem}.py"

    def key(test: str) -> tuple[bool, bool, float]:
        return not test.partition("::")[0].endswith(name), test in others, seconds[test]

    return sorted(tests | others, key=key)


def _run(tree: Path, tests: list[str], seconds: float) -> tuple[int, list[str]]:
    """Run tests until one fails; return the exit code, negative if they do not end, and the output."""
    listing = tree / ".tests-to-run"
    listing.write_text("\n".join(tests), "utf-8")
    options = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-p", "select_plugin"]
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *files], cwd=tree,
        env=environment(tree, MUTATION_TESTS=str(listing)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    limit = int(3 * seconds + 120)  # of processor time: a busy machine is no reason to call it endless
    resource.prlimit(process.pid, resource.RLIMIT_CPU, (limit, limit))
    try:
        output, _ = process.communicate(timeout=20 * limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return -signal.SIGKILL, []
    return process.returncode, output.splitlines()
