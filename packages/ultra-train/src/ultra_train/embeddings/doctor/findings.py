"""What a check finds."""

from __future__ import annotations

import attrs


@attrs.frozen
class Finding:
    """The result of a check.

    Attributes:
        check: what was looked at.
        value: what was found.
        advice: what to do, or what the value means.
        good: whether nothing needs to be done.
    """

    check: str
    value: str
    advice: str
    good: bool = True
