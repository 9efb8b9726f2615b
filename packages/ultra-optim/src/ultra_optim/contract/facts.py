"""Facts that the docstring of an optimizer states in a fixed form, read without importing it."""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(r"^\s*State: (?P<state>.+)\. Treats: (?P<treats>.+)\.$", re.MULTILINE)
_PAPER = re.compile(r"arXiv[: ]\s*(\d{4}\.\d{4,5})")


class Facts(NamedTuple):
    """What a list of optimizers shows about one; empty where its docstring says nothing.

    Attributes:
        state: size of the state of a matrix of ``n`` elements, in numbers of four bytes: ``2n``,
            ``n + rows + columns``; ``longer`` and ``shorter`` are its sides, ``rank`` is the option.
        treats: the parameters that the method itself updates, and what updates the others.
        paper: the arXiv id of the first paper.
    """

    state: str = ""
    treats: str = ""
    paper: str = ""


def facts(docstring: str) -> Facts:
    """Read the line ``State: 2n. Treats: everything.`` and the first ``arXiv 1711.05101``."""
    line, paper = _LINE.search(docstring), _PAPER.search(docstring)
    return Facts(line["state"] if line else "", line["treats"] if line else "", paper[1] if paper else "")
