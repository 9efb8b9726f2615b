"""The third stage of loading: one report of all faults, without those that follow from others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ultra_core.config import Fault, KeyPath, Source, raise_faults


def check(
    source: Source, faults: Sequence[Fault], contradictions: Iterable[tuple[KeyPath, str] | Fault]
) -> None:
    """Raise one report of all faults of a file.

    Args:
        source: the file, with the faults that parsing found.
        faults: values of wrong types and unknown keys.
        contradictions: faults that rules found; those that follow from another fault are left out.

    Raises:
        ConfigError: there is at least one fault.
    """
    shadows = _Shadows(faults)
    found = [one if isinstance(one, Fault) else source.fault(*one) for one in contradictions]
    raise_faults(source, [*faults, *(fault for fault in found if not shadows.cover(fault))])


class _Shadows:
    """The faulty keys, to recognise contradictions that follow from them."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.paths: set[KeyPath] = set()
        self.above: set[KeyPath] = set()
        self.names: set[str] = set()
        for fault in faults:
            self.paths.add(fault.path)
            self.above.update(fault.path[:length] for length in range(1, len(fault.path) + 1))
            self.names.update(str(part) for part in fault.path[-1:])
            if "Did you mean" in fault.message:
                self.names.update(re.findall(r"'(\w+)'", fault.message))

    def cover(self, fault: Fault) -> bool:
        """Whether a contradiction is at, above or below a faulty key, or mentions one by name."""
        above = (fault.path[:length] for length in range(1, len(fault.path) + 1))
        if fault.path in self.above or any(path in self.paths for path in above):
            return True
        words = {str(part) for part in fault.path[-1:]} | set(re.findall(r"\w+", fault.message))
        return bool(self.names & words)
