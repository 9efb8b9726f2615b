"""Languages that words are stemmed in, and a guess which one some texts have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ultra_core.errors import UltraError, did_you_mean, listed

STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""The Snowball stemmer of each language, by its ISO 639-1 code."""

NO_STEMMING = "none"
"""Name for words as they are."""

_SAMPLED_TEXTS, _SAMPLED_CHARACTERS = 500, 400
_LEAST_SHARE = 0.15
_WORD = re.compile(r"\w+")


def check_language(language: str) -> str:
    """Return the code of a language.

    Raises:
        UltraError: it has no stemmer.
    """
    if language not in STEMMERS and language != NO_STEMMING:
        raise UltraError(
            f"there is no stemmer for the language {language!r}; there are {listed(list(STEMMERS))}, and "
            f"{NO_STEMMING!r} for words as they are.{did_you_mean(language, STEMMERS)}"
        )
    return language


def guess_language(texts: Sequence[str]) -> str:
    """Return the language whose function words make up the largest share of some texts.

    Args:
        texts: the texts; a few hundred of them are looked at.

    Returns:
        one of the twelve languages whose function words are known, or ``NO_STEMMING`` where they are less
        than 15 % of the words.
    """
    step = max(1, len(texts) // _SAMPLED_TEXTS)
    words = Counter(
        word for text in texts[::step] for word in _WORD.findall(text[:_SAMPLED_CHARACTERS].lower())
    )
    total = sum(words.values())
    shares = {
        language: sum(words[word] for word in function_words) / total if total else 0.0
        for language, function_words in _function_words().items()
    }
    found = max(shares, key=lambda language: shares[language])
    return found if shares[found] >= _LEAST_SHARE else NO_STEMMING


def _function_words() -> dict[str, set[str]]:
    from bm25s import stopwords

    return {
        "da": set(stopwords.STOPWORDS_DANISH),
        "de": set(stopwords.STOPWORDS_GERMAN),
        "en": set(stopwords.STOPWORDS_EN),
        "es": set(stopwords.STOPWORDS_SPANISH),
        "fr": set(stopwords.STOPWORDS_FRENCH),
        "it": set(stopwords.STOPWORDS_ITALIAN),
        "nb": set(stopwords.STOPWORDS_NORWEGIAN),
        "nl": set(stopwords.STOPWORDS_DUTCH),
        "pt": set(stopwords.STOPWORDS_PORTUGUESE),
        "ru": set(stopwords.STOPWORDS_RUSSIAN),
        "sv": set(stopwords.STOPWORDS_SWEDISH),
        "tr": set(stopwords.STOPWORDS_TURKISH),
    }
