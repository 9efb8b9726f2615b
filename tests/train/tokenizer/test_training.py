import unicodedata

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from ultra_train.data.es_commands import sentences
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.tokenizer.files import MODEL_FILE
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.sentencepiece_model import TokenizerError
from ultra_train.tokenizer.training import train_tokenizer

ODD = [
    "",
    " ",
    "   espacios    por  todas partes   ",
    "tabuladores\ty\nlíneas\r\n",
    "no separable\u00a0y ancho\u3000y cero\u200bancho",
    "👍🏽 👩\u200d👩\u200d👧 🇪🇸 ❤\ufe0f 🏳\ufe0f\u200d🌈",
    "cafe\u0301 con azu\u0301car, pingu\u0308ino, man\u0303ana",
    "\u0301suelto al principio y al final\u0301",
    "o\u0323 x\u0323\u0302 tres marcas x\u0301\u0302\u0303",
    "ﬁn ½ Ⅳ ① ㎏ ｆｕｌｌ",
    "漢字 кириллица العربية हिन्दी ไทย 한국어",
    "▁subrayado▁ y __guiones__",
    "¿Qué? ¡Ñandú! «sí»… 3,14 € — 100 %",
    "\ufeffmarca de orden",
    "www.www.www",
]


@pytest.fixture(scope="module")
def commands(command_cache):
    return [
        sentence.text
        for language in ("es", "nb")
        for sentence in sentences(language, cache_dir=command_cache)
    ]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pair(request, commands, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    train_tokenizer(commands, vocab_size=900, model_type=request.param, output_dir=folder, max_length=128)
    return load_tokenizer(folder), sentencepiece.SentencePieceProcessor(str(folder / MODEL_FILE))


def test_the_fast_tokenizer_and_sentencepiece_agree_on_real_text(pair, commands):
    fast, model = pair
    texts = [*commands[::7], *(text.capitalize() + "." for text in commands[::31])]
    texts += [unicodedata.normalize("NFD", text) for text in commands[::37]]
    assert fast(texts, add_special_tokens=False)["input_ids"] == model.encode(texts)


@pytest.mark.parametrize("text", ODD)
def test_they_agree_on_odd_text(pair, text):
    fast, model = pair
    assert fast(text, add_special_tokens=False)["input_ids"] == model.encode(text)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z"]), max_size=30))
def test_they_agree_on_any_letters(pair, text):
    fast, model = pair
    text = unicodedata.normalize("NFC", text)
    assert fast(text, add_special_tokens=False)["input_ids"] == model.encode(text)


def test_a_mask_inside_a_text_takes_the_space_before_it(pair):
    fast, model = pair
    ids = fast("abre la [MASK] del garaje")["input_ids"]
    assert ids == [2, *model.encode("abre la"), 4, *model.encode("del garaje"), 3]
    masked = [2, *model.encode("abre la puerta del garaje"), 3]
    masked[3:-3] = [4]
    assert fast("[MASK] la puerta")["input_ids"][1] == 4
    assert fast("abre [MASK][MASK]")["input_ids"].count(4) == 2


def test_special_tokens_and_their_ids(pair):
    fast, _ = pair
    assert [
        fast.pad_token_id,
        fast.unk_token_id,
        fast.cls_token_id,
        fast.sep_token_id,
        fast.mask_token_id,
    ] == [0, 1, 2, 3, 4]
    assert fast("")["input_ids"] == [2, 3]
    assert fast("hola", "mundo")["input_ids"].count(3) == 2
    assert set(fast("hola")) == {"input_ids", "attention_mask"}
    assert fast.model_max_length == 128
    assert len(fast) == 900
    assert len(fast(" ".join(["luz"] * 500), truncation=True)["input_ids"]) == 128


def test_nothing_is_unknown_and_text_comes_back(pair):
    fast, _ = pair
    for text in ["abre la puerta del garaje", "漢字 y 👍🏽", "Ñandú: 100 %"]:
        ids = fast(text)["input_ids"]
        assert fast.unk_token_id not in ids
        assert fast.decode(ids, skip_special_tokens=True) == text


def test_training_twice_gives_the_same_files(commands, tmp_path):
    for name in ("one", "two"):
        train_tokenizer(commands[:2000], vocab_size=500, output_dir=tmp_path / name, max_texts=500, seed=3)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_lowercase_folds(commands, tmp_path):
    fast = train_tokenizer(commands[:2000], vocab_size=450, output_dir=tmp_path, lowercase=True)
    assert fast("ABRE LA PUERTA")["input_ids"] == fast("abre la puerta")["input_ids"]


def test_long_texts_are_used_whole(tmp_path):
    words = [f"{a}{b}{a}" for a in "bcdfglmnprst" for b in "aeiou"]
    fast = train_tokenizer([" ".join(words * 60)], vocab_size=330, model_type="bpe", output_dir=tmp_path)
    assert len(fast.tokenize("bab")) < 4


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_larger_than_the_corpus_allows_says_the_maximum(model_type, tmp_path):
    texts = ["abre la puerta", "cierra la ventana"] * 5
    with pytest.raises(
        TokenizerError, match=r"30000 tokens is larger than this corpus allows: at most (\d+)"
    ) as caught:
        train_tokenizer(texts, vocab_size=30_000, model_type=model_type, output_dir=tmp_path / "t")
    assert not (tmp_path / "t").exists()
    most = int(str(caught.value).split("at most ")[1].split(".")[0])
    assert (
        len(train_tokenizer(texts, vocab_size=most, model_type=model_type, output_dir=tmp_path / "t")) == most
    )


def test_other_faults(tmp_path):
    with pytest.raises(TokenizerError, match="too small for the characters"):
        train_tokenizer(["abre la puerta"], vocab_size=100, output_dir=tmp_path / "t")
    with pytest.raises(TokenizerError, match="no usable text"):
        train_tokenizer(["", "  "], vocab_size=300, output_dir=tmp_path / "t")
    with pytest.raises(TokenizerError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path / "nowhere")


def test_saving_replaces_the_old_files_and_leaves_no_others(commands, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for size in (400, 420):
        train_tokenizer(commands[:1000], vocab_size=size, output_dir=tmp_path)
    assert len(load_tokenizer(tmp_path)) == 420
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"notes.txt", MODEL_FILE, "tokenizer.json", "tokenizer_config.json"}


def test_ids_reach_beyond_the_length_of_a_vocabulary_with_gaps():
    class Gaps:
        def __len__(self):
            return 3

        def get_vocab(self):
            return {"a": 0, "b": 1, "c": 7}

    assert num_token_ids(Gaps()) == 8


def test_text_of_which_normalisation_leaves_nothing(tmp_path):
    with pytest.raises(TokenizerError, match="no usable text"):
        train_tokenizer(["\u200b"] * 9, vocab_size=300, output_dir=tmp_path / "t")
    assert not (tmp_path / "t").exists()
