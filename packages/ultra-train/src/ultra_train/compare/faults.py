"""Faults of the arms of a comparison, each told once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

NAMED = 5
"""Arms that are named in a line."""


def fault_lines(faults: Mapping[str, Sequence[str]], arms: int) -> Iterator[str]:
    """Yield each fault once; one that only some arms have names them, unless it names the varied value.

    Args:
        faults: the names of the arms that have a fault, by the fault.
        arms: number of all arms.
    """
    for text, names in faults.items():
        if len(names) == arms or text.startswith("--vary"):
            yield text
        else:
            # names of arms hold commas themselves
            yield f"{'; '.join(names[:NAMED])}{' and others' if len(names) > NAMED else ''}: {text}"
