"""The range of similarity scores, which are brought to 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ultra_train.data.errors import DataError

_STS = (0.0, 5.0)


@attrs.frozen
class ScoreScale:
    """A linear map of scores.

    Attributes:
        low: the score that becomes 0.
        high: the score that becomes 1.
        said: a line for the user when the scores change, or "".
    """

    low: float = 0.0
    high: float = 1.0
    said: str = ""

    def __call__(self, score: float) -> float:
        """Return a score between 0 and 1; a scale from 0 to 1 changes nothing."""
        return (score - self.low) / (self.high - self.low)


def scale_of(
    source: str, extremes: Sequence[tuple[float, str]], given: tuple[float, float] | None
) -> ScoreScale:
    """Return the scale of the scores of a data set.

    Scores from 0 to 1, and cosines from -1 to 1, stay as they are. Those of STS, from 0 to 5, are divided by
    5 where they can be nothing else: the least is below 1 and the greatest above 4. Any other range must be
    given.

    Args:
        source: the data set, for messages.
        extremes: least and greatest score, with the places of their rows; empty if there are no scores.
        given: the range that the preset gives, or None.

    Raises:
        DataError: a score is outside the range, or the range is not known.
    """
    if not extremes:
        return ScoreScale()
    (least, first), (greatest, last) = extremes
    if given is not None:
        low, high = given
        if not low < high:
            raise DataError(
                f"score_range is {list(given)}; give the lowest and the highest score, such as [0, 5]."
            )
        for score, where in extremes:
            if not low <= score <= high:
                raise DataError(f"{where}: the score is {score:g}, outside score_range {list(given)}.")
        return ScoreScale(low, high, "" if given == (0, 1) else _said(source, low, high, "score_range"))
    if least >= -1 and greatest <= 1:
        return ScoreScale()
    if 0 <= least < 1 and 4 < greatest <= 5:
        return ScoreScale(*_STS, _said(source, *_STS, "the range of STS"))
    score, where = (greatest, last) if greatest > 1 else (least, first)
    raise DataError(
        f"{where}: the score is {score:g}, but scores go from 0 to 1, or from 0 to 5 as in STS; those of "
        f"{source} go from {least:g} to {greatest:g}. Say between which values they lie with "
        "score_range: [lowest, highest]."
    )


def _said(source: str, low: float, high: float, why: str) -> str:
    return f"{source}: scores from {low:g} to {high:g} ({why}) become 0 to 1"
