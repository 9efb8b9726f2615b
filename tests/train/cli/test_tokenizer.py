"""tokenizer train."""

from ultra_train.tokenizer import load_tokenizer

TEXT = "\n".join(f"abre la puerta {i} del garaje y enciende la luz de la cocina" for i in range(200))


def test_it_trains_from_a_file(ultra, tmp_path):
    corpus, folder = tmp_path / "corpus.txt", tmp_path / "tokenizer"
    corpus.write_text(TEXT, encoding="utf-8")
    result = ultra(
        "tokenizer", "train", "--data", str(corpus), "--vocab-size", "300", "--output-dir", str(folder)
    )
    assert result.exit_code == 0, result.output
    assert result.output == f"300 tokens in {folder}\n"
    assert load_tokenizer(folder).mask_token == "[MASK]"


def test_a_missing_file_is_an_error(ultra, tmp_path):
    result = ultra("tokenizer", "train", "--data", str(tmp_path / "none.txt"), "--vocab-size", "300")
    assert result.exit_code == 2
    assert "none.txt" in result.stderr
