"""``ultra-train convert``: folders in, folders out, and what it refuses."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from support.tiny_encoders import masked_lm


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked_lm(tmp_path_factory.mktemp("bert"))


def test_there_and_back(ultra, bert, tmp_path):
    there, back = tmp_path / "new" / "ultra", tmp_path / "back"
    said = ultra("convert", str(bert), "-o", str(there)).output
    assert "UltraForMaskedLM" in said
    assert "largest difference of logits" in said
    ultra("convert", str(there), "-o", str(back), "--to", "bert")
    models = [AutoModelForMaskedLM.from_pretrained(folder).eval() for folder in (bert, there, back)]
    given = AutoTokenizer.from_pretrained(there)("enciende la luz", return_tensors="pt")
    logits = [model(**given).logits for model in models]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(logits[2], logits[0])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere"),
        (["BERT", "--to", "modernbert"], "leave out --to"),
        (["BERT", "--to", "brt"], "--to brt: must be bert, roberta, modernbert. Did you mean 'bert'"),
    ],
)
def test_bad_input(ultra, bert, tmp_path, arguments, said):
    words = [str(bert) if word == "BERT" else word for word in arguments]
    result = ultra("convert", *words, "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_kept(ultra, bert, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    result = ultra("convert", str(bert), "-o", str(tmp_path))
    assert result.exit_code == 2
    assert "is not empty; name a new folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
