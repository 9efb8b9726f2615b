"""``encode`` and what it writes."""

import json

import numpy as np
import pytest

from ultra_train.search.encoders import Encoder, EncodingOptions, identify


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "a", "text": "abre la puerta"}\n{"id": "b", "text": "la luz"}\n')
    return str(path)


def test_texts_become_lines_of_json(ultra, tiny_encoders):
    result = ultra("encode", "la luz", "el perro", "--model", str(tiny_encoders["dense"]), "--as", "query")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["la luz", "el perro"]
    model = Encoder(identify(str(tiny_encoders["dense"])), EncodingOptions())
    np.testing.assert_allclose(
        [row["vector"] for row in rows], model.queries(["la luz", "el perro"]), rtol=1e-4
    )


def test_documents_become_a_file(ultra, tiny_encoders, corpus, tmp_path):
    words = ["encode", "--from", corpus, "--model", str(tiny_encoders["dense"]), "--truncate-dim", "8"]
    result = ultra(*words, "--quantize", "int8", "--output", str(tmp_path / "v.npz"))
    assert result.output == f"{tmp_path / 'v.npz'}: 2 vectors of 8 dimensions\n"
    packed = np.load(tmp_path / "v.npz")
    assert packed["ids"].tolist() == ["a", "b"]
    assert (packed["vectors"].shape, packed["vectors"].dtype) == ((2, 8), np.int8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give texts to encode, or documents with --from, and not both"),
        (["x", "--from", "y"], "give texts to encode, or documents with --from, and not both"),
        (["x", "--output", "v.txt"], "files that end in .jsonl, .npy, .npz, .safetensors"),
    ],
)
def test_bad_input_is_an_error_before_the_model_is_loaded(words, message, ultra, tiny_encoders):
    result = ultra("encode", *words, "--model", str(tiny_encoders["dense"]))
    assert result.exit_code == 2
    assert message in result.stderr
