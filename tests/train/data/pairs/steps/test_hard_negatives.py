import datasets
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.steps.hard_negatives import HardNegatives, mine

WORDS = [
    "abre",
    "cierra",
    "enciende",
    "apaga",
    "limpia",
    "puerta",
    "ventana",
    "luz",
    "radio",
    "horno",
    "cocina",
    "salón",
    "jardín",
]
ROWS = [
    {"query": f"{verb} {thing}", "document": f"{verb} la {thing}"}
    for verb in WORDS[:5]
    for thing in WORDS[5:10]
]


@pytest.fixture(scope="module")
def encoder():
    """An encoder of bags of words, each with a random vector."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["?", "la", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    weights = torch.randn(len(vocabulary), 16).numpy()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


@pytest.fixture
def mined(encoder, tmp_path):
    """Mine; ``mined.loads`` counts how often the model was loaded, and ``mined.said`` is what was said."""

    def mined(rows=ROWS, **options):
        def load():
            mined.loads += 1
            return encoder

        mined.said = []
        return mine(
            datasets.Dataset.from_list(list(rows)),
            HardNegatives(**{"model": "owner/encoder", **options}),
            load,
            cache_dir=tmp_path / "cache",
            notify=mined.said.append,
        )

    mined.loads = 0
    return mined


def test_negatives_are_near_and_no_answers(mined):
    found = mined(per_query=2)
    assert found.column_names == ["query", "document", "negative", "negative_2"]
    assert len(found) == len(ROWS)
    answers = {row["document"] for row in ROWS}
    for row in found.to_list():
        negatives = [row["negative"], row["negative_2"]]
        assert set(negatives) <= answers - {row["document"]}
        assert len(set(negatives)) == 2
        verb, thing = row["query"].split()
        assert verb in negatives[0] or thing in negatives[0]


def test_answers_of_the_query_and_copies_of_them_are_never_mined(mined):
    copies = [
        {"query": "otra cosa", "document": "Abre  la puerta"},
        {"query": "otra más", "document": "abre puerta"},
        {"query": "abre puerta", "document": "abre ya la puerta"},
    ]
    found = mined([*ROWS, *copies], per_query=3)
    row = [row for row in found.to_list() if row["query"] == "abre puerta"]
    assert {row["document"] for row in row} == {"abre la puerta", "abre ya la puerta"}
    refused = {"abre la puerta", "Abre  la puerta", "abre ya la puerta", "abre puerta"}
    assert not any(row[name] in refused for row in row for name in ("negative", "negative_2", "negative_3"))


def test_the_result_is_kept_for_the_same_rows_model_and_options(mined):
    first = mined(sampling="random", range_max=8)
    again = mined(sampling="random", range_max=8)
    assert mined.loads == 1
    assert again._fingerprint == first._fingerprint
    assert again.to_list() == first.to_list()
    other = mined(sampling="random", range_max=8, seed=1)
    assert other.to_list() != first.to_list()
    mined(ROWS[:-1], sampling="random", range_max=8)
    mined(sampling="random", range_max=8, model="owner/other")
    assert mined.loads == 4


def test_rows_without_enough_negatives_are_left_out_and_said(mined):
    rows = [*ROWS, {"query": "abre puerta", "document": "abre ya la puerta"}]
    found = mined(rows, per_query=25)
    assert set(found["query"]) == {row["query"] for row in ROWS[1:]}
    assert mined.said == [
        "hard_negatives: 2 of 26 rows are left out, since they have fewer than 25 negatives"
    ]
    with pytest.raises(DataError, match="no query has 1 negatives within these limits"):
        mined(max_score=-1.0)


def test_what_cannot_be_mined_is_refused_before_the_model_is_loaded(mined):
    with pytest.raises(DataError, match="the columns are query, document, negative"):
        mined([{"query": "a", "document": "b", "negative": "c"}])
    for options, message in (
        ({"per_query": 0}, "per_query must be at least 1"),
        (
            {"range_min": 4, "range_max": 6, "per_query": 3},
            "there are 2 texts from range_min 4 to range_max 6",
        ),
    ):
        with pytest.raises(DataError, match=message):
            mined(**options)
    assert mined.loads == 0


def test_a_model_that_is_no_dense_encoder_is_refused(tmp_path):
    rows = datasets.Dataset.from_list(ROWS)
    with pytest.raises(DataError, match="owner/sparse is a object, but a dense encoder is needed"):
        mine(rows, HardNegatives(model="owner/sparse"), object, cache_dir=tmp_path)
