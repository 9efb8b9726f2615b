"""Shared by the tests of data: a small Spanish corpus and a tokenizer trained on it."""

from pathlib import Path

import pytest

from ultra_train.tokenizer.training import train_tokenizer

_PLACES = ["la cocina", "el salón", "el jardín", "la terraza", "el despacho", "la entrada", "el garaje"]
_THINGS = ["la luz", "la puerta", "la ventana", "el ventilador", "la radio", "el horno", "la persiana"]
_VERBS = ["abre", "cierra", "enciende", "apaga", "limpia", "revisa"]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """294 different short sentences, and one long text."""
    short = [f"{verb} {thing} de {place}" for verb in _VERBS for thing in _THINGS for place in _PLACES]
    return [*short, " ".join(short[:60])]


@pytest.fixture(scope="session")
def tokenizer(texts, tmp_path_factory):
    return train_tokenizer(
        texts,
        vocab_size=400,
        model_type="bpe",
        output_dir=tmp_path_factory.mktemp("tokenizer"),
        max_length=64,
    )


@pytest.fixture
def corpus(texts, tmp_path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path
