"""``similarity``: a number, a table, or JSON."""

import json

import pytest


def test_two_texts_give_a_number_and_more_a_table(ultra, tiny_encoders):
    model = ["--model", str(tiny_encoders["dense"])]
    texts = ["la luz", "el perro", "la luz"]
    found = json.loads(ultra("similarity", *texts, *model, "--json").stdout)
    assert found["texts"] == texts
    assert found["similarity"][0][2] == pytest.approx(1, abs=1e-5)
    assert ultra("similarity", *texts[:2], *model).stdout == f"{found['similarity'][0][1]:.4f}\n"
    lines = ultra("similarity", *texts, *model).stdout.splitlines()
    assert lines[0].split() == ["1", "2", "3"]
    assert lines[2].split() == ["2", "el", "perro", *(f"{value:.4f}" for value in found["similarity"][1])]


def test_one_text_cannot_be_compared(ultra, tiny_encoders):
    result = ultra("similarity", "la luz", "--model", str(tiny_encoders["dense"]))
    assert result.exit_code == 2
    assert "give at least two texts" in result.stderr
