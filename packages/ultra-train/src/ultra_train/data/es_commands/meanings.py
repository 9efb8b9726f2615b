"""The embedded commands by what they ask for: paraphrases of each other, with meanings held out for tests."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import attrs

from ultra_train.data.cache import Notify
from ultra_train.data.es_commands.commands import sentences
from ultra_train.data.hashing import text_hash

Split = Literal["train", "dev", "test"]
TENTHS: tuple[Split, ...] = ("test", "dev")
"""The splits that get a tenth of the meanings each; the others are for training."""

_log = logging.getLogger(__name__)


@attrs.frozen
class Meaning:
    """Sentences that ask for the same.

    Attributes:
        name: the intent and the values of its slots.
        canonical: the shortest of the sentences.
        paraphrases: the others.
    """

    name: str
    canonical: str
    paraphrases: tuple[str, ...]

    @property
    def split(self) -> Split:
        """``train``, ``dev`` or ``test``; it depends on the name alone."""
        return split_of(self.name)


def split_of(meaning: str) -> Split:
    """Return the split of the sentences with a meaning; all data of the commands are divided by it."""
    tenth = text_hash(meaning) % 10
    return TENTHS[tenth] if tenth < len(TENTHS) else "train"


def meanings(
    language: str, *, cache_dir: str | Path | None = None, notify: Notify = _log.warning
) -> list[Meaning]:
    """Return the meanings of the commands of a language, in the order of their first sentences.

    Args:
        language: one of ``LANGUAGES``.
        cache_dir: folder that caches the sentences; None builds them in memory.
        notify: is called with a line when the cached file is damaged.

    Raises:
        DataError: the package with the templates is not installed.
    """
    found: dict[str, list[str]] = {}
    for sentence in sentences(language, cache_dir=cache_dir, notify=notify):
        found.setdefault(sentence.frame.name, []).append(sentence.text)
    return [_meaning(name, texts) for name, texts in found.items()]


def _meaning(name: str, texts: list[str]) -> Meaning:
    canonical = min(texts, key=len)
    return Meaning(name, canonical, tuple(text for text in texts if text is not canonical))
