"""Which tests run the line of a mutant: the suite runs once, with a probe in front of each line."""

from __future__ import annotations

import ast
import collections
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutants import Mutant

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PROBES = Path(__file__).parent / "probes"
"""A folder that is put on the path of every interpreter while the suite runs."""


def environment(tree: Path, **more: str) -> dict[str, str]:
    """Return variables under which a tree's own sources are imported, whatever is installed."""
    sources = [str(path) for path in sorted(tree.glob("packages/*/src"))]
    python_path = os.pathsep.join([*sources, str(PROBES)])
    return {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", **more}


def add_probes(tree: Path, mutants: Sequence[Mutant]) -> None:
    """Write a call of ``_probe`` in front of the statement of each mutant.

    A line that runs while its module is imported gets probes in the functions around it instead: of its
    class, or of its module. So does the default of an argument, in its function.
    """
    by_file: Mapping[str, list[Mutant]] = collections.defaultdict(list)
    for mutant in mutants:
        by_file[mutant.file].append(mutant)
    for file, those in by_file.items():
        path = tree / file
        source = path.read_text("utf-8")
        lines = source.splitlines()
        calls: dict[int, list[str]] = collections.defaultdict(list)
        for mutant in those:
            for statement in _places(ast.parse(source), mutant.line):
                calls[statement.lineno].append(f"{' ' * statement.col_offset}_probe({mutant.name!r})")
        for line in sorted(calls, reverse=True):
            lines[line - 1 : line - 1] = calls[line]
        path.write_text("\n".join(lines) + "\n", "utf-8")


def runs_at_import(source: str, line: int) -> bool:
    """Return whether a line is run by the import of its module and not by a call of a function in it."""
    holder, _, in_signature = _find(ast.parse(source), line)
    return in_signature or not isinstance(holder, FUNCTIONS)


def _places(tree: ast.Module, line: int) -> list[ast.stmt]:
    """Return the statements in front of which a probe tells that the line runs."""
    holder, statement, _ = _find(tree, line)
    if isinstance(holder, FUNCTIONS):
        return [statement or _after_docstring(holder)]
    functions = (n for n in ast.walk(holder) if isinstance(n, FUNCTIONS))
    return [_after_docstring(function) for function in functions]


def _find(tree: ast.Module, line: int) -> tuple[ast.AST, ast.stmt | None, bool]:
    """Return the function, class or module around a line, its statement there, and whether it is a header."""
    holder: ast.AST = tree
    statement: ast.stmt | None = None
    body: Sequence[ast.stmt] = tree.body
    while inner := next((s for s in body if _first(s) <= line <= s.end_lineno), None):
        if isinstance(inner, (*FUNCTIONS, ast.ClassDef)):
            holder, statement = inner, None
            if line < inner.body[0].lineno:
                return holder, None, True
            body = inner.body
            continue
        if statement is None or not _is_elif(statement, inner):
            statement = inner
        parts = [getattr(inner, name, []) for name in ("body", "orelse", "finalbody")]
        parts += [part.body for part in (*getattr(inner, "handlers", ()), *getattr(inner, "cases", ()))]
        body = [s for part in parts for s in part]
    return holder, statement, False


def _first(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _is_elif(outer: ast.stmt, inner: ast.stmt) -> bool:
    if not (isinstance(outer, ast.If) and isinstance(inner, ast.If)):
        return False
    while outer.orelse and isinstance(outer.orelse[0], ast.If):
        outer = outer.orelse[0]
        if outer is inner:
            return True
    return False


def _after_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    has_docstring = ast.get_docstring(function) is not None and len(function.body) > 1
    return function.body[1 if has_docstring else 0]


def trace(
    tree: Path, mutants: Sequence[Mutant], arguments: Sequence[str], results: Path
) -> dict[str, object]:
    """Run the suite of an instrumented tree; return tests with their seconds, and the tests of each mutant.

    Tests that fail under the probes fail for the probes' sake or for nothing; they are left out.
    """
    results.mkdir(parents=True, exist_ok=True)
    variables = environment(tree, MUTATION_RESULTS=str(results))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "probe_plugin", *arguments]
    subprocess.run(command, cwd=tree, env=variables, check=False)
    seconds: dict[str, float] = {}
    fixtures: dict[str, list[str]] = {}
    failed: set[str] = set()
    for path in results.glob("tests-*.jsonl"):
        for line in path.read_text("utf-8").splitlines():
            said = json.loads(line)
            seconds[said["test"]] = seconds.get(said["test"], 0.0) + said["seconds"]
            fixtures[said["test"]] = said["fixtures"]
            if said["outcome"] == "failed":
                failed.add(said["test"])
    sharing: Mapping[str, set[str]] = collections.defaultdict(set)
    for test, names in fixtures.items():
        for name in names:
            sharing[name].add(test)
    runs: dict[str, list[str]] = {}
    for mutant in mutants:
        tests: set[str] = set()
        for path in results.glob(f"hits-{mutant.name}-*"):
            for hit in path.read_text("utf-8").splitlines():
                test, _, phase = hit.rpartition(" ")
                tests.add(test)
                if phase != "(call)":  # what a fixture did is seen by all that share it
                    tests.update(*(sharing[name] for name in fixtures.get(test, ())))
        runs[mutant.name] = sorted((tests & seconds.keys()) - failed)
    return {"seconds": seconds, "failed": sorted(failed), "runs": runs}
