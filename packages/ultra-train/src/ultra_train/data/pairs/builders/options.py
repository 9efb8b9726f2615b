"""The options of the data sets that builders put together."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.languages import language_code
from ultra_train.data.pairs.splitting import SplitRatio


@attrs.frozen(kw_only=True)
class BuilderOptions:
    """How a data set is put together.

    Attributes:
        source: a local folder that is read instead of the hub, or another data set of the hub with the same
            columns where the builder reads only one; None for the hub.
        languages: languages to use, by name or code; None or empty for all.
        split_ratio: the share of train, or those of train, dev and test, for parts that have no splits.
        seed: seed of that division.
        tasks: tasks of ``ddsc``; None or empty for all.
        use_norquad: use this part of ``scandi_qa``; so do the next four.
        use_openbookqa: see ``use_norquad``.
        use_scandiqa: see ``use_norquad``.
        use_supervised_da: see ``use_norquad``.
        use_paws: see ``use_norquad``.
        paws_data_dir: folder of the PAWS-X files of ``scandi_qa``; without it, that part is left out.
        scandiqa_languages: languages of the part ScandiQA; None or empty for all.
    """

    source: str | None = None
    languages: Sequence[str] | None = None
    split_ratio: SplitRatio | None = None
    seed: int = 42
    tasks: Sequence[str] | None = None
    use_norquad: bool = True
    use_openbookqa: bool = True
    use_scandiqa: bool = True
    use_supervised_da: bool = True
    use_paws: bool = True
    paws_data_dir: str | None = None
    scandiqa_languages: Sequence[str] | None = None


def language_codes(data_set: str, names: Sequence[str] | None, there: Sequence[str]) -> tuple[str, ...]:
    """Return the codes of languages, in the order of ``there``.

    Args:
        data_set: for the error message.
        names: names or codes; None or empty for all.
        there: the codes of the languages that the data set has.

    Raises:
        DataError: a language is unknown, or the data set does not have it.
    """
    wanted = {language_code(name): name for name in names or there}
    for code, name in wanted.items():
        if code not in there:
            raise DataError(f"{data_set}: there is no language {name!r} in it; it has {listed(there)}.")
    return tuple(code for code in there if code in wanted)
