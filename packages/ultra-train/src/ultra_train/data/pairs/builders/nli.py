"""``nli``: about 569,000 Norwegian triplets of natural language inference, machine-translated.

``Fremtind/all-nli-norwegian`` has the columns ``anchor``, ``positive`` (entailed) and ``negative``
(contradicted), and the splits train, dev and test, which are used as they are.

The columns and splits are those that public training code reads; the data set itself was not at hand when
this was written.
"""

from __future__ import annotations

from ultra_train.data.pairs.builders.options import BuilderOptions, language_codes
from ultra_train.data.pairs.builders.part import Part

NLI = Part(
    hub="Fremtind/all-nli-norwegian",
    folder="all-nli-norwegian",
    columns={"anchor": "anchor", "positive": "positive", "negative": "negative"},
)


def parts(options: BuilderOptions) -> list[Part]:
    """Return what ``nli`` consists of.

    Raises:
        DataError: another language than Norwegian is asked for.
    """
    language_codes("nli", options.languages, ("no",))
    return [NLI]
