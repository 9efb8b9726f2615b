"""Mutants: drawn from a tree with a seed, written to a file, and found again in a later tree."""

from __future__ import annotations

import ast
import dataclasses
import json
import random
from pathlib import Path

from operators import apply, edits


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One line of source made wrong; found by its text, so that it outlives a move of the file.

    Attributes:
        name: number in the draw.
        file: path from the root of the tree.
        function: qualified name of what holds the line, empty at the top of a module.
        line: number of the line, counted from 1.
        operator: what was done.
        before: the line's text without its indentation.
        after: what stands in its place.
    """

    name: str
    file: str
    function: str
    line: int
    operator: str
    before: str
    after: str


def draw(tree: Path, seed: int, count: int) -> list[Mutant]:
    """Draw lines of the four packages, all of them equally likely, and one edit of each."""
    by_line = {}
    for path in sorted(tree.glob("packages/*/src/**/*.py")):
        source = path.read_text("utf-8")
        for edit in edits(source):
            by_line.setdefault((path.relative_to(tree).as_posix(), edit.line), set()).add(edit)
    generator = random.Random(seed)
    mutants = []
    for n, (file, line) in enumerate(generator.sample(sorted(by_line), count), 1):
        source = (tree / file).read_text("utf-8")
        text = source.splitlines()[line - 1]
        edit = generator.choice(sorted(by_line[file, line]))
        mutants.append(
            Mutant(
                f"{n:02}", file, scope_of(source, line), line, edit.operator,
                text.strip(), apply(text, edit).strip(),
            )
        )  # fmt: skip
    return mutants


def read(path: Path) -> list[Mutant]:
    """Read mutants from a file that ``write`` made."""
    return [Mutant(**fields) for fields in json.loads(path.read_text("utf-8"))]


def write(path: Path, mutants: list[Mutant]) -> None:
    """Write mutants to a file, for another tree or another day."""
    text = json.dumps([dataclasses.asdict(m) for m in mutants], indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def locate(mutant: Mutant, tree: Path) -> Mutant | None:
    """Find a mutant's line in another tree; None if it is in no file, or in several and none is likely.

    The likely one is in the function of the same name, then in the file of the same path or name, and then
    nearest to the old line.
    """
    package = "/".join(Path(mutant.file).parts[:2])
    found = []
    for path in sorted(tree.glob(f"{package}/src/**/*.py")):
        source = path.read_text("utf-8")
        if mutant.before not in source:
            continue
        file = path.relative_to(tree).as_posix()
        for line, text in enumerate(source.splitlines(), 1):
            if text.strip() == mutant.before:
                scope = scope_of(source, line)
                alike = (
                    scope == mutant.function,
                    scope.rpartition(".")[2] == mutant.function.rpartition(".")[2],
                    file == mutant.file,
                    path.name == Path(mutant.file).name,
                )
                found.append((alike, -abs(line - mutant.line), file, scope, line))
    if not found:
        return None
    found.sort(reverse=True)
    alike, _, file, scope, line = found[0]
    if len(found) > 1 and not any(alike):
        return None
    return dataclasses.replace(mutant, file=file, function=scope, line=line)


def scope_of(source: str, line: int) -> str:
    """Return the qualified name of the innermost function or class around a line."""
    names: list[str] = []
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        for child in ast.iter_child_nodes(node):
            if getattr(child, "lineno", line + 1) <= line <= getattr(child, "end_lineno", 0):
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    names.append(child.name)
                nodes = [child]
                break
            if not hasattr(child, "lineno"):  # arguments, for one, have no place of their own
                nodes.append(child)
    return ".".join(names)


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source with the mutant's line in it.

    Raises:
        ValueError: the line is not what the mutant says.
    """
    lines = source.splitlines(keepends=True)
    text = lines[mutant.line - 1]
    if text.strip() != mutant.before:
        raise ValueError(f"{mutant.file}:{mutant.line} is not `{mutant.before}`")
    lines[mutant.line - 1] = text.replace(mutant.before, mutant.after)
    return "".join(lines)
