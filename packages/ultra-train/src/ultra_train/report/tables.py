"""Tables of a page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[._](?=[^\W_])")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: bool = False) -> str:
    """Return a table that scrolls sideways on a narrow screen; the first column stays in sight.

    Args:
        head: the headings of the columns; empty for a table without a heading.
        rows: the cells; a :class:`Markup` is not escaped.
        numbers: whether all columns but the first hold numbers, which are aligned to the right.
    """
    heading = "".join(f"<th scope=col>{_cell(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th scope=row>{breakable(first)}</th>{''.join(f'<td>{_cell(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    kind = " class=numbers" if numbers else ""
    top = f"<thead><tr>{heading}</tr></thead>" if heading else ""
    return f"<div class=scroll><table{kind}>{top}<tbody>{body}</tbody></table></div>"


def breakable(name: object) -> str:
    """Return a name such as ``training.batch_size`` as HTML that breaks between its words where it must."""
    return name if isinstance(name, Markup) else _BETWEEN_WORDS.sub(r"\g<0><wbr>", html.escape(str(name)))


class Markup(str):
    """HTML, which is not escaped again."""


def _cell(value: object) -> str:
    return value if isinstance(value, Markup) else html.escape(str(value))


def section(title: str, content: str, *, note: str = "", half: bool = False) -> str:
    """Return a card of a page with a heading.

    Args:
        title: the heading.
        content: HTML.
        note: a line of explanation below the heading.
        half: whether it takes half of the width of a wide page.
    """
    explained = f"<p class=note>{html.escape(note)}</p>" if note else ""
    kind = "card half" if half else "card"
    heading = f"<header><h2>{html.escape(title)}</h2></header>"
    return f'<section class="{kind}">{heading}{explained}{content}</section>'
