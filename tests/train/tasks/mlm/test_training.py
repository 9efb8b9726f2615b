from __future__ import annotations

import pytest
import torch
from transformers import AlbertConfig, AlbertForMaskedLM, BertConfig, BertForMaskedLM

from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.tasks.mlm import training
from ultra_train.tasks.mlm.models import check_vocabulary
from ultra_train.tasks.mlm.task import MLM
from ultra_train.tasks.mlm.training import MLMRun

PRESET = """\
base_model: {base}
tokenizer: {{name_or_path: {base}}}
training:
  task: mlm
  max_length: 16
  optimizer: {{optimizer_class: adamw, parameters: {{adamw-lr: 1.0e-3}}}}
"""


class Tokenizer:
    """Twenty tokens; no token has the id 20."""

    model_max_length = 10**30
    pad_token_id = 0
    mask_token_id = 4
    all_special_ids = (0, 1, 2, 3, 4)

    def get_vocab(self):
        return {str(i): i for i in (*range(20), 21)}

    def __len__(self):
        return 21


@pytest.fixture
def task(tmp_path):
    """Make the task over a tiny BERT that reads 16 tokens and has rows for 20 ids."""
    base = tmp_path / "bert"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=20, max_position_embeddings=16, **sizes)
    BertForMaskedLM(config).save_pretrained(base)
    preset = tmp_path / "further.yaml"
    preset.write_text(PRESET.format(base=base))

    def make(*overrides: str) -> MLMRun:
        made = MLM("mlm").start(load_preset(preset, overrides), tmp_path, device=torch.device("cpu"))
        made.tokenizer = Tokenizer()
        return made

    return make


def test_a_base_model_gets_rows_for_every_id(task):
    assert task().build_model().get_input_embeddings().weight.shape[0] == 64


def test_all_sources_are_looked_for_before_the_tokenizer_is(task, tmp_path, monkeypatch):
    (tmp_path / "there.txt").write_text("hola")
    made = task(f"training.dataset=[{tmp_path}/there.txt, {tmp_path}/nowhere.txt]")
    monkeypatch.setattr(training, "tokenizer_of_run", lambda run: pytest.fail("the tokenizer came first"))
    with pytest.raises(UltraError, match=r"nowhere.txt: there is no such file"):
        made.prepare()


def test_rows_longer_than_a_base_model_reads_are_refused(task):
    with pytest.raises(UltraError, match=r"max_length is 17, .*reads at most 16"):
        task("training.max_length=17").build_model()


def test_a_base_model_that_cannot_keep_documents_apart_is_never_packed(task):
    with pytest.raises(UltraError, match=r"batching packed.*BertForMaskedLM.*use length"):
        task("training.batching=packed").build_model()


def test_a_base_model_that_is_cut_short(task, tmp_path):
    weights = tmp_path / "bert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UltraError, match=r"base_model .*cannot be loaded"):
        task().build_model()


def test_activations_that_cannot_be_computed_again(task, tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    AlbertForMaskedLM(AlbertConfig(vocab_size=20, embedding_size=8, **sizes)).save_pretrained(
        tmp_path / "albert"
    )
    made = task("training.activation_checkpointing=true", f"base_model={tmp_path}/albert")
    with pytest.raises(UltraError, match=r"activation_checkpointing: .*AlbertForMaskedLM.*leave it out"):
        made.build_model()


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("mask_token_id", None, "has no mask token"),
        ("pad_token_id", None, "no padding token"),
        ("all_special_ids", range(22), "knows no tokens but special ones"),
    ],
)
def test_a_tokenizer_that_cannot_be_trained_with(task, monkeypatch, attribute, value, message):
    monkeypatch.setattr(Tokenizer, attribute, value)
    with pytest.raises(UltraError, match=rf"the tokenizer .*bert.* {message}"):
        check_vocabulary(task().preset, Tokenizer())
