"""The shipped pipelines: valid, the same recipe in both languages, and no key without effect."""

import json

import pytest

from ultra_train.config import load_any
from ultra_train.data.es_commands import sentences
from ultra_train.tokenizer.training import train_tokenizer


@pytest.fixture(scope="module")
def pipelines():
    return {language: load_any(f"pipeline_{language}") for language in ("es", "nb")}


@pytest.mark.parametrize("language", ["es", "nb"])
def test_every_step_is_on_the_language_model(language, pipelines):
    made = pipelines[language]
    assert [(step.name, step.base) for step in made.steps] == [
        ("mlm", None),
        ("sbert", "mlm"),
        ("splade", "mlm"),
    ]
    assert made.evaluation.models == ("sbert", "splade")
    assert made.evaluation.data == f"ultra:{language}-commands"
    assert not [line for line in made.notices if "no effect" in line]


def test_the_languages_have_the_same_recipe(pipelines):
    trees = {language: pipelines[language].to_tree()["pipeline"] for language in ("es", "nb")}
    for section in (trees["nb"]["mlm"]["model"], trees["nb"]["mlm"]["tokenizer"]["train"]):
        section["vocab_size"] = 720
    es, nb = (json.dumps(trees[language]) for language in ("es", "nb"))
    assert nb.replace("ultra:nb-commands", "ultra:es-commands") == es
    assert nb.count("ultra:nb-commands") == 3


def test_the_norwegian_texts_have_as_many_pieces_as_their_tokenizer(pipelines, command_cache, tmp_path):
    section = pipelines["nb"].to_tree()["pipeline"]["mlm"]["tokenizer"]["train"]
    texts = [sentence.text for sentence in sentences("nb", cache_dir=command_cache)]
    train_tokenizer(iter(texts), output_dir=tmp_path, vocab_size=section["vocab_size"])
