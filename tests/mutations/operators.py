"""The ways in which one line of source can be made wrong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

COMPARISONS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
ARITHMETIC = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Pow: "*", ast.Mod: "*",
    ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip


class Edit(NamedTuple):
    """Text that replaces a part of one line; columns count bytes, as those of ``ast`` do."""

    operator: str
    line: int
    start: int
    stop: int
    text: str


def edits(source: str) -> Iterator[Edit]:
    """Yield every edit of a file; each changes a single line and leaves a file that parses."""
    tree = ast.parse(source)
    lines = source.encode().splitlines()
    skipped = _left_alone(tree)
    for node in ast.walk(tree):
        if node not in skipped:
            for edit in _edits_of(node, lines):
                if _parses(lines, edit):
                    yield edit


def apply(line: str, edit: Edit) -> str:
    """Return the line with the edit made."""
    raw = line.encode()
    return (raw[: edit.start] + edit.text.encode() + raw[edit.stop :]).decode()


def _edits_of(node: ast.AST, lines: list[bytes]) -> Iterator[Edit]:
    match node:
        case ast.Compare(left, [operation, *_], [right, *_]) if type(operation) in COMPARISONS:
            yield from _between("other comparison", left, right, COMPARISONS[type(operation)], lines)
        case ast.BinOp(left, operation, right) if type(operation) in ARITHMETIC:
            yield from _between("other arithmetic", left, right, ARITHMETIC[type(operation)], lines)
        case ast.BoolOp(operation, [left, right, *_]):
            other = "or" if isinstance(operation, ast.And) else "and"
            yield from _between("and for or, or for and", left, right, other, lines)
        case ast.UnaryOp(ast.Not(), operand):
            yield from _whole("removed not", node, _text(operand, lines))
        case ast.If(test) | ast.While(test) | ast.IfExp(test):
            yield from _whole("negated condition", test, f"(not ({_text(test, lines)}))")
        case ast.Constant(bool() as value):
            yield from _whole("other constant", node, str(not value))
        case ast.Constant(int() as value):
            yield from _whole("constant off by one", node, str(value + 1))
        case ast.Constant(float() as value):
            yield from _whole("other constant", node, repr(2 * value if value else 1.0))
        case ast.Call(args=[first, second, *_]) if ast.dump(first) != ast.dump(second):
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                swapped = f"{_text(second, lines)}, {_text(first, lines)}"
                yield from _span("swapped arguments", first, second, swapped)
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield from _whole("removed statement", node, "pass")
        case ast.Expr(ast.Call() | ast.Await() | ast.Yield()):
            yield from _whole("removed statement", node, "pass")
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield from _whole("removed statement", node, "pass")
        case ast.Return(ast.expr()):
            yield from _whole("returns None", node, "return None")


def _whole(operator: str, node: ast.AST, text: str) -> Iterator[Edit]:
    yield from _span(operator, node, node, text)


def _span(operator: str, first: ast.AST, last: ast.AST, text: str) -> Iterator[Edit]:
    if first.lineno == last.end_lineno and "\n" not in text:
        yield Edit(operator, first.lineno, first.col_offset, last.end_col_offset, text)


def _between(operator: str, left: ast.AST, right: ast.AST, text: str, lines: list[bytes]) -> Iterator[Edit]:
    """Replace the sign between two operands, and none of the parentheses around them."""
    if left.end_lineno == right.lineno:
        between = lines[right.lineno - 1][left.end_col_offset : right.col_offset]
        sign = between.strip(b" ()")
        start = left.end_col_offset + between.index(sign)
        if sign and b"\\" not in sign:
            yield Edit(operator, right.lineno, start, start + len(sign), text)


def _text(node: ast.AST, lines: list[bytes]) -> str:
    if node.lineno != node.end_lineno:
        return "\n"
    return lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()


def _parses(lines: list[bytes], edit: Edit) -> bool:
    changed = [line.decode() for line in lines]
    changed[edit.line - 1] = apply(changed[edit.line - 1], edit)
    if changed[edit.line - 1] == lines[edit.line - 1].decode():
        return False
    try:
        ast.parse("\n".join(changed))
    except SyntaxError:  # a parenthesis stood between the operands
        return False
    return True


def _left_alone(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes of imports, ``__all__``, f-strings and mere types, which are never edited."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        roots: list[ast.AST | None] = []
        match node:
            case ast.Import() | ast.ImportFrom() | ast.JoinedStr():
                roots = [node]
            case ast.If(ast.Name("TYPE_CHECKING")):
                roots = [node]
            case ast.Assign([ast.Name("__all__")]):
                roots = [node]
            case ast.arg() | ast.AnnAssign():
                annotation = node.annotation
                if annotation is not None and "Annotated" not in ast.dump(annotation):
                    roots = [annotation]
            case ast.FunctionDef():
                roots = [node.returns]
        for root in roots:
            if root is not None:
                skipped.update(ast.walk(root))
    return skipped
