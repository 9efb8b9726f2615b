"""What is on the disk already is never overwritten by a tokenizer, unless it is one that was trained here."""

import pytest

from ultra_train.tokenizer.files import FILES, MODEL_FILE, may_be_trained_into
from ultra_train.tokenizer.sentencepiece_model import TokenizerError
from ultra_train.tokenizer.spanish import SpanishSPMTokenizer
from ultra_train.tokenizer.training import train_tokenizer

TEXTS = [f"abre la puerta {number} de la cocina" for number in range(50)]
SIZE = 290


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a trained tokenizer; copy it, never change it."""
    folder = tmp_path_factory.mktemp("trained")
    train_tokenizer(TEXTS, vocab_size=SIZE, output_dir=folder)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_tokenizer_is_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("years of work")
    with pytest.raises(TokenizerError, match=r"nothing is overwritten\. Give another place"):
        train_tokenizer(TEXTS, vocab_size=SIZE, output_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "years of work"


def test_other_files_of_the_folder_are_kept_and_its_own_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("years of work")
    for size in (SIZE, SIZE - 5):
        assert len(train_tokenizer(TEXTS, vocab_size=size, output_dir=tmp_path)) == size
    assert (tmp_path / "notes.txt").read_text() == "years of work"


@pytest.mark.parametrize("suffix", ["model", "vocab"])
def test_a_model_of_the_same_prefix_is_not_overwritten(suffix, tmp_path):
    there = tmp_path / f"es.{suffix}"
    there.write_text("years of work")
    with pytest.raises(TokenizerError, match="nothing is overwritten"):
        SpanishSPMTokenizer(SIZE).train(TEXTS, model_prefix=tmp_path / "es")
    assert [path.name for path in tmp_path.iterdir()] == [there.name]
    there.unlink()
    for _ in range(2):
        SpanishSPMTokenizer(SIZE).train(TEXTS, model_prefix=tmp_path / "es")


def test_what_a_killed_training_left_may_be_trained_into(trained, tmp_path):
    assert may_be_trained_into(tmp_path / "new")
    assert may_be_trained_into(tmp_path)
    (tmp_path / ".unfinished-0123").mkdir()
    assert may_be_trained_into(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes((trained / MODEL_FILE).read_bytes())
    assert may_be_trained_into(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not may_be_trained_into(tmp_path)
    assert not may_be_trained_into(trained)
    assert not may_be_trained_into(trained / MODEL_FILE)


@pytest.mark.parametrize("content", [b"", b"no model", bytes(100), b"\xff" * 50])
def test_a_damaged_model_is_an_error(content, tmp_path):
    (tmp_path / "es.model").write_bytes(content)
    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        SpanishSPMTokenizer.from_pretrained(tmp_path / "es")
