"""tokenizer train."""

from ultra_train.tokenizer.loading import load_tokenizer

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


def test_what_is_left_out_is_told(ultra, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"text": "{line}"}}\n' for line in TEXT.splitlines()) + "broken\n\n", "utf-8")
    words = ["tokenizer", "train", "--data", str(rows), "--vocab-size", "300"]
    result = ultra(*words, "--output-dir", str(tmp_path / "one"))
    assert result.exit_code == 2
    assert "rows.jsonl:201: is not JSON" in result.stderr
    assert not (tmp_path / "one").exists()
    result = ultra(*words, "--output-dir", str(tmp_path / "two"), "--on-bad-rows", "skip")
    assert result.exit_code == 0
    assert "bad rows  blank rows  texts" in result.stderr
    assert f"skipped of {rows}: {rows}:201: is not JSON" in result.stderr
