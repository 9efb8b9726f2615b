from __future__ import annotations

import math

import pytest

from support.collections import DOCUMENTS, QUERIES
from ultra_core.errors import UltraError
from ultra_train.retrieval.bm25 import BM25Index
from ultra_train.retrieval.languages import guess_language

TEXTS = [f"{title} {text}" for title, text in DOCUMENTS.values()]


def test_scores_are_those_of_the_formula() -> None:
    index = BM25Index(["a b b", "a c", "c c c c d"], "none", k1=1.2, b=0.75)
    ranking = index.search(["b c"], 3)
    mean = (3 + 2 + 5) / 3

    def weight(count: int, length: int, documents: int) -> float:
        rarity = math.log(1 + (3 - documents + 0.5) / (documents + 0.5))
        return rarity * count / (count + 1.2 * (1 - 0.75 + 0.75 * length / mean))

    expected = {0: weight(2, 3, 1), 1: weight(1, 2, 2), 2: weight(4, 5, 2)}
    numbers, scores = ranking.row(0)
    assert numbers.tolist() == sorted(expected, key=lambda number: -expected[number])
    assert scores.tolist() == pytest.approx([expected[number] for number in numbers], rel=1e-5)


def test_words_are_stemmed_in_the_language_of_the_documents() -> None:
    index = BM25Index(TEXTS)
    assert index.language == "es"
    assert index.search(["bajar una persiana"], 6).documents[0, 0] == 4
    assert 0 not in BM25Index(TEXTS, "none").search(["puertas abiertas"], 6).documents[0, 1:]
    assert index.nbytes > 0


def test_documents_without_a_common_word_are_not_found() -> None:
    index = BM25Index([*TEXTS, ""])
    ranking = index.search(["helicóptero", "", "calefacción"], 3)
    assert [len(ranking.row(query)[0]) for query in range(3)] == [0, 0, 1]
    assert len(BM25Index(["", " "]).search(["puerta"], 5).row(0)[0]) == 0


def test_ties_are_in_the_order_of_the_documents() -> None:
    assert BM25Index(["x y", "x z", "x y"], "none").search(["x"], 2).documents.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "es",
            "El menú muestra las opciones que se pueden elegir para la página y los párrafos.",
        ),
        ("da", "Efter at siden er åbnet, kan nogle af dem kun bruges, hvis der er et billede af os at vise."),
        ("sv", "Den här menyn visar de val som du kan göra för sidan och för styckena i en text."),
        ("nb", "Etter at siden er åpnet, kan noen av dem bare brukes hvis det er et bilde av oss å vise."),
        ("en", "This menu shows the choices that you can make for the page and the paragraphs of a text."),
        ("none", "x1 y2 z3 alpha beta gamma"),
        ("none", ""),
    ],
)
def test_the_language_is_guessed(language: str, text: str) -> None:
    assert guess_language([text]) == language


def test_a_language_without_stemmer_is_refused() -> None:
    with pytest.raises(UltraError, match="no stemmer for the language 'xx'"):
        BM25Index(list(QUERIES.values()), "xx")
