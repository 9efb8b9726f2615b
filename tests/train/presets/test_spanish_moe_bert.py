"""The seed's model and tokenizer at a small size: its code runs as it is written there."""

import copy
import itertools
from collections.abc import Mapping

import attrs
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline
from transformers.utils import logging

from ultra_blocks.hf import SpanishMoEBERT, UltraForMaskedLM, UltraHFConfig
from ultra_train.config import load_preset
from ultra_train.tasks.mlm.fill_mask import guesses
from ultra_train.tokenizer import TokenizerError
from ultra_train.tokenizer.spanish import SPANISH_TEXTS, SpanishSPMTokenizer

VERBS, NOUNS, PLACES = (
    ("abre", "cierra", "enciende", "apaga"),
    ("la puerta", "la luz", "el aprendizaje automático", "la música"),
    ("del garaje", "del salón", "del jardín"),
)
TEXTS = [" ".join(words) for words in itertools.product(VERBS, NOUNS, PLACES)]

TRAIN = """
tokenizer = SpanishSPMTokenizer(vocab_size=350)
tokenizer.train(model_prefix='models/es_redpajama_50k')
"""

QUICK_START = """
from transformers import AutoTokenizer, AutoModel
import torch

tokenizer = SpanishSPMTokenizer.from_pretrained("./models/es_redpajama_50k")
model = SpanishMoEBERT.from_pretrained("./models/spanish_moe_bert")

text = "El aprendizaje automático es fascinante."
inputs = tokenizer.encode(text, return_tensors="pt")

with torch.no_grad():
    outputs = model(**inputs)
    sentence_embedding = outputs.pooler_output
    hidden_states = outputs.last_hidden_state
"""

SIMILARITY = """
from sentence_transformers import SentenceTransformer, util

model = SentenceTransformer('models/spanish_moe_bert')
sentences = ["Texto de ejemplo uno.", "Un segundo texto de ejemplo."]

embeddings = model.encode(sentences)
similarity = util.cos_sim(embeddings[0], embeddings[1])
"""


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    logging.disable_progress_bar()


def build():
    torch.manual_seed(0)
    model = attrs.evolve(
        load_preset("spanish_moe_bert").model, vocab_size=352, hidden_size=16, num_layers=3, num_heads=4,
        num_kv_heads=2, num_experts=4, top_k_experts=2, ffn_hidden_size=8, dropout=0.0, initializer_range=0.2,
    )  # fmt: skip
    return SpanishMoEBERT(UltraHFConfig.from_ultra(model)).eval()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("tokenizer") / "models" / "es.50k"
    return SpanishSPMTokenizer(vocab_size=350).train(TEXTS, model_prefix=prefix)


def test_the_seeds_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(
        "ultra_train.tokenizer.spanish.TextReader.texts",
        lambda reader, spec: [asked.append(spec), *TEXTS][1:],
    )
    names = {"SpanishSPMTokenizer": SpanishSPMTokenizer, "SpanishMoEBERT": SpanishMoEBERT}
    exec(TRAIN, names)
    assert asked == [SPANISH_TEXTS] == ["erickfmm/red_pajama_es_hq_35"]
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [
        "es_redpajama_50k.model",
        "es_redpajama_50k.vocab",
    ]
    model = build()
    model.save_pretrained("models/spanish_moe_bert")
    exec(QUICK_START, names)
    inputs, outputs = names["inputs"], names["outputs"]
    assert isinstance(inputs, Mapping)
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == (1, inputs["input_ids"].shape[1])
    wanted = model.model(**inputs)
    assert torch.equal(names["sentence_embedding"], wanted.last_hidden_state[:, 0])
    assert torch.equal(names["hidden_states"], wanted.last_hidden_state)
    assert outputs.logits.shape == (*inputs["input_ids"].shape, 352)
    names["tokenizer"].save_pretrained("models/spanish_moe_bert")
    exec(SIMILARITY, names)
    assert names["embeddings"].shape == (2, 16)
    assert -1 <= names["similarity"].item() < 1 - 1e-4


class TestTokenizer:
    def test_a_prefix_and_a_folder_load_to_the_same(self, tokenizer, tmp_path):
        loaded = [tokenizer]
        tokenizer.save_pretrained(tmp_path / "folder")
        loaded.append(SpanishSPMTokenizer.from_pretrained(tmp_path / "folder"))
        prefix = tmp_path / "again.v1"
        SpanishSPMTokenizer(vocab_size=350).train(iter(TEXTS), model_prefix=prefix)
        loaded += [SpanishSPMTokenizer.from_pretrained(p) for p in (prefix, f"{prefix}.model")]
        loaded[1].save_pretrained(tmp_path / "once more")
        loaded.append(AutoTokenizer.from_pretrained(tmp_path / "once more"))
        for other in loaded:
            assert len(other) == other.vocab_size == 350
            assert other.mask_token_id == 4
            assert other(TEXTS[3])["input_ids"] == tokenizer(TEXTS[3])["input_ids"]

    def test_it_is_bpe_with_specials_and_comes_back(self, tokenizer):
        encoded = tokenizer.encode("abre la puerta")
        assert encoded["input_ids"][0] == tokenizer.cls_token_id
        assert encoded["input_ids"][-1] == tokenizer.sep_token_id
        assert tokenizer.decode(encoded["input_ids"], skip_special_tokens=True) == "abre la puerta"
        assert type(tokenizer.tokenizer.backend_tokenizer.model).__name__ == "BPE"

    def test_a_list_is_a_padded_batch_and_long_texts_are_cut(self, tokenizer, tmp_path):
        batch = tokenizer.encode([TEXTS[0], "luz " * 900], return_tensors="pt")
        assert batch["input_ids"].shape == (2, 512)
        assert batch["attention_mask"][0].sum() < 512
        prefix = tmp_path / "short"
        SpanishSPMTokenizer(vocab_size=350).train(TEXTS, model_prefix=prefix)
        short = SpanishSPMTokenizer.from_pretrained(prefix, max_length=8)
        assert len(short.encode("luz " * 900)["input_ids"]) == 8

    def test_a_file_as_corpus(self, tmp_path):
        (tmp_path / "texts.txt").write_text("\n".join(TEXTS), "utf-8")
        from_file = SpanishSPMTokenizer(vocab_size=290, model_type="unigram")
        from_file.train(model_prefix=tmp_path / "t", dataset=str(tmp_path / "texts.txt"))
        lines = (tmp_path / "t.vocab").read_text("utf-8").splitlines()
        assert [line.split("\t")[0] for line in lines[:6]] == [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<0x00>",
        ]  # fmt: skip
        assert len(lines) == 290

    def test_faults(self, tmp_path):
        fresh = SpanishSPMTokenizer()
        assert fresh.vocab_size == 50_000
        with pytest.raises(TokenizerError, match="no vocabulary yet"):
            fresh.encode("hola")
        with pytest.raises(TokenizerError, match=r"given one text, 'texts\.txt'"):
            fresh.train("texts.txt", model_prefix=tmp_path / "t")
        with pytest.raises(TokenizerError, match="50000 tokens is larger than this corpus allows"):
            fresh.train(TEXTS, model_prefix=tmp_path / "t")
        with pytest.raises(TokenizerError, match="no usable text"):
            fresh.train([" "], model_prefix=tmp_path / "t")
        with pytest.raises(TokenizerError, match="no tokenizer can be loaded"):
            SpanishSPMTokenizer.from_pretrained(tmp_path / "t")
        assert not list(tmp_path.iterdir())
        assert copy.deepcopy(fresh).vocab_size == 50_000


class TestModel:
    def test_it_saves_and_loads_as_itself_and_as_the_others(self, tmp_path):
        model = build()
        model.save_pretrained(tmp_path / "mine")
        mine = SpanishMoEBERT.from_pretrained(tmp_path / "mine").eval()
        assert type(mine) is SpanishMoEBERT
        ids = torch.arange(5, 13).view(2, 4)
        wanted = model(ids)
        assert torch.equal(mine(ids).logits, wanted.logits)
        assert torch.equal(
            AutoModelForMaskedLM.from_pretrained(tmp_path / "mine").eval()(ids).logits, wanted.logits
        )
        assert torch.equal(
            AutoModel.from_pretrained(tmp_path / "mine").eval()(ids).pooler_output, wanted.pooler_output
        )
        UltraForMaskedLM.from_pretrained(tmp_path / "mine").save_pretrained(tmp_path / "other")
        assert torch.equal(
            SpanishMoEBERT.from_pretrained(tmp_path / "other").eval()(ids).logits, wanted.logits
        )

    def test_the_loss_is_that_of_the_masked_language_model(self):
        model, ids = build().train(), torch.arange(5, 13).view(2, 4)
        labels = torch.where(torch.arange(4) == 1, ids, -100)
        output = model(ids, labels=labels)
        assert output.logits.shape == (2, 352)
        task = torch.nn.functional.cross_entropy(output.logits, labels[:, 1])
        torch.testing.assert_close(output.loss, task + sum(output.losses.values()))
        output.loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert output.pooler_output.shape == (2, 16)
        assert len(model(ids, return_dict=False)) == 4, "logits, states, embeddings, losses"

    def test_fill_mask(self, tokenizer):
        model = build()
        fill = pipeline("fill-mask", model=model, tokenizer=tokenizer.tokenizer, device="cpu")
        found = fill("abre la [MASK] del garaje", top_k=3)
        assert len(found) == 3
        ((best, *_),) = guesses(model, tokenizer, "abre la [MASK] del garaje", top_k=3)
        assert 0 < best.probability < 1
