"""Where reading is in the rows of a source, so that it can go on there later."""

from __future__ import annotations

import attrs


@attrs.define
class Place:
    """The first row of a source that was not read yet; readers move it as they yield.

    Attributes:
        file: index of the file among the files of the source.
        offset: bytes (of the text, if the file is compressed) or rows of the file before it.
        line: lines of the file before it, in formats that have lines.
        ended: 1 when the source was read to its end, else 0.
    """

    file: int = 0
    offset: int = 0
    line: int = 0
    ended: int = 0

    @property
    def is_start(self) -> bool:
        """Whether nothing was read yet."""
        return self == Place()

    def next_file(self) -> None:
        """Move to the start of the next file."""
        self.file, self.offset, self.line = self.file + 1, 0, 0
