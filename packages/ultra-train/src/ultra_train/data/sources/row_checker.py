"""What is read of a source: every row is counted, and a bad one ends the reading or is skipped and named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from ultra_train.data.errors import DataError

OnBadRows = Literal["error", "skip"]

NAMED = 5
"""Most faults, and most files, that are named; the others are counted."""


@attrs.define
class SourceCounts:
    """What became of the files, rows and texts of one source.

    Attributes:
        source: What the preset calls it.
        files: Files that were opened.
        empty_files: Files without any content, which were passed over.
        other_files: What was passed over because it is no file of a known format.
        unreadable: Files, and row groups of Parquet files, whose rest cannot be read.
        blank: Rows without text: empty, white space, null.
        bad: Rows that cannot be used.
        texts: Rows that can.
        without_tokens: Texts of which the tokenizer makes no token.
        repeated: Texts that were read before, in this source or an earlier one; they are kept.
        repeated_exactly: Whether `repeated` is exact, or an estimate; see `Duplicates`.
        split: Texts longer than `max_length`, which became several documents.
        documents: Documents.
        tokens: Their tokens.
        faults: The first faults, with their places.
        passed_over: The first of the empty and other files.
    """

    source: str
    files: int = 0
    empty_files: int = 0
    other_files: int = 0
    unreadable: int = 0
    blank: int = 0
    bad: int = 0
    texts: int = 0
    without_tokens: int = 0
    repeated: int = 0
    repeated_exactly: bool = True
    split: int = 0
    documents: int = 0
    tokens: int = 0
    faults: list[str] = attrs.Factory(list)
    passed_over: list[str] = attrs.Factory(list)


class RowChecker:
    """The reading of one source.

    Args:
        source: What the preset calls it.
        on_bad_rows: ``"error"`` raises the fault of a bad row or file; ``"skip"`` counts and names it.
    """

    def __init__(self, source: str = "", on_bad_rows: OnBadRows = "error") -> None:
        self.counts = SourceCounts(source)
        self._skips = on_bad_rows == "skip"

    def text(self, value: object, where: str, column: str) -> Sequence[str]:
        """Return ``[value]``, or ``[]`` for a null or blank text and for what is skipped.

        Args:
            value: What a row holds in the wanted column.
            where: File and line, or row.
            column: The column.

        Raises:
            DataError: It is no text, or has lone surrogates, which no encoding can write.
        """
        if value is None:
            self.blank()
            return []
        if not isinstance(value, str):
            kind = type(value).__name__
            self.bad(DataError(f"{where}: column {column!r} holds {kind}, but a text is needed."))
            return []
        if not value.strip():
            self.blank()
            return []
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                half = (
                    f"half a surrogate pair (U+{ord(value[error.start]):04X} at character {error.start + 1})"
                )
                self.bad(DataError(f"{where}: column {column!r} holds {half}, which is no text."))
                return []
        self.counts.texts += 1
        return [value]

    def blank(self) -> None:
        """Count a row without text."""
        self.counts.blank += 1

    def bad(self, fault: DataError) -> None:
        """Count and name a row that cannot be used, or raise its fault."""
        if not self._skips:
            raise DataError(f"{fault} Mend the row, or skip such rows with on_bad_rows: skip.") from fault
        self.counts.bad += 1
        self._name(fault)

    def unreadable(self, fault: DataError) -> None:
        """Count and name a file, or a part of one, whose rest cannot be read, or raise its fault."""
        if not self._skips:
            raise fault
        self.counts.unreadable += 1
        self._name(fault)

    def _name(self, fault: DataError) -> None:
        if len(self.counts.faults) < NAMED:
            self.counts.faults.append(str(fault))
