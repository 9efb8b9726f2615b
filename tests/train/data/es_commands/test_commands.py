import gzip
import json
from importlib import metadata

import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.es_commands import LANGUAGES, commands, sentences


@pytest.fixture
def cache(command_cache):
    return command_cache


@pytest.mark.parametrize(
    ("language", "count"), [("es", 6000), ("nb", 4000), ("da", 4000), ("sv", 4000), ("en", 5000)]
)
def test_there_are_thousands_of_sentences_and_none_twice(language, count, cache):
    found = sentences(language, cache_dir=cache)
    texts = [sentence.text for sentence in found]
    assert len(texts) >= count
    assert len(set(texts)) == len(texts)
    assert len({sentence.template for sentence in found}) > 200
    assert not any(sign in text for text in texts for sign in "{}<>()[]|\n")
    assert all(text == " ".join(text.split()) for text in texts)


def test_the_sentences_are_what_people_say(cache):
    texts = [sentence.text for sentence in sentences("es", cache_dir=cache)]
    assert "qué hora es" in texts
    for wanted in ["enciende la luz", "apaga todas las luces", "abre la puerta del garaje"]:
        assert any(text.startswith(wanted) for text in texts)


def test_building_again_gives_the_same_and_the_cache_is_used(cache, monkeypatch):
    kept = sentences("nb", cache_dir=cache)
    assert sentences("nb") == kept
    monkeypatch.setattr(commands, "_built", lambda language: pytest.fail("built again"))
    assert sentences("nb", cache_dir=cache) == kept


def test_a_broken_cache_is_built_again(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "_built", lambda language: [commands.Sentence("hola", "t")])
    sentences("es", cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    for content in (b"", gzip.compress(json.dumps([["hola", "t"]]).encode())[:-4], gzip.compress(b"[[1")):
        path.write_bytes(content)
        assert sentences("es", cache_dir=tmp_path) == [commands.Sentence("hola", "t")]


def test_a_missing_package_names_the_extra(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(DataError, match=r"pip install 'ultra-train\[es-commands\]'"):
        sentences("es")


def test_every_language_has_a_file():
    for language in LANGUAGES:
        assert commands._language(language)["slots"]["area"]
