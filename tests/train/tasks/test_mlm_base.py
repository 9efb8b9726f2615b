from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BigBirdConfig,
    BigBirdForMaskedLM,
    DebertaConfig,
    DebertaForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ultra_core.errors import UltraError
from ultra_train.saved_dtype import convert_saved
from ultra_train.tasks.mlm_base import load_base

SIZES = {
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}
HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture
def bert(tmp_path):
    """Save a tiny BERT and return (its folder, its weights)."""
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES))
    model.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert", model.state_dict()


def rewrite(folder, change):
    """Change the names or values of saved weights."""
    path = folder / "model.safetensors"
    save_file({k: v.contiguous().clone() for k, v in change(load_file(path)).items()}, path, {"format": "pt"})


def equal(model, weights):
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_whole_base_is_loaded_without_a_word(bert):
    folder, weights = bert
    base = load_base(str(folder), dtype=torch.float32)
    assert equal(base.model, weights)
    assert (base.fresh, base.unused) == ((), ())
    assert not list(base.notices())


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("named", [True, False])
def test_a_base_in_half_precision_is_trained_in_fp32(bert, half, named):
    folder, weights = bert
    BertForMaskedLM.from_pretrained(folder, dtype=half).save_pretrained(folder)
    if not named:  # an old config does not say what the weights are
        config = json.loads((folder / "config.json").read_text())
        del config["dtype"]
        (folder / "config.json").write_text(json.dumps(config))
    base = load_base(str(folder), dtype=torch.float32)
    assert base.dtype == half
    assert {p.dtype for p in base.model.parameters()} == {torch.float32}
    assert equal(base.model, {name: value.to(half).float() for name, value in weights.items()})
    (line,) = base.notices()
    assert line.startswith(
        f"is saved in {'bf16' if half == torch.bfloat16 else 'fp16'}; its weights are trained"
    )


def test_another_precision_of_the_weights_when_it_is_asked_for(bert):
    base = load_base(str(bert[0]), dtype=torch.bfloat16)
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_a_head_that_is_not_there_is_told(bert, tmp_path):
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path / "bare")
    base = load_base(str(tmp_path / "bare"), dtype=torch.float32)
    fresh, unused = base.notices()
    assert fresh == (
        "has no weights for cls.predictions, cls.predictions.transform.dense, "
        "cls.predictions.transform.LayerNorm: they start at random"
    )
    assert unused == "has weights that are not used: pooler.dense"


@pytest.mark.parametrize(
    ("model", "config", "extra"),
    [
        (DebertaForMaskedLM, DebertaConfig, {}),
        (DebertaV2ForMaskedLM, DebertaV2Config, {"position_biased_input": False}),
    ],
)
def test_debertas_own_head_is_found_under_its_own_name(model, config, extra, tmp_path):
    torch.manual_seed(0)
    original = model(config(**SIZES, **extra, legacy=False))
    original.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["legacy"]  # what was published before transformers had two heads
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert not hasattr(model.from_pretrained(tmp_path), "lm_predictions")  # which would train a random head
    base = load_base(str(tmp_path), dtype=torch.float32)
    assert equal(base.model, original.state_dict())
    assert not list(base.notices())
    base.model.save_pretrained(tmp_path / "again")
    assert equal(model.from_pretrained(tmp_path / "again"), original.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_with_the_prefix_of_a_wrapper_find_their_place(bert, prefix):
    folder, weights = bert
    rewrite(folder, lambda saved: {prefix + name: value for name, value in saved.items()})
    base = load_base(str(folder), dtype=torch.float32)
    assert equal(base.model, weights)
    assert not list(base.notices())


def test_old_names_of_norms_find_their_place(bert):
    folder, weights = bert

    def old(saved):
        return {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
            for n, v in saved.items()
        }

    rewrite(folder, old)
    base = load_base(str(folder), dtype=torch.float32)
    assert equal(base.model, weights)
    assert not list(base.notices())


def test_a_bias_that_is_saved_at_the_decoder_finds_its_place(bert):
    folder, weights = bert
    rewrite(
        folder,
        lambda saved: {
            n.replace("predictions.bias", "predictions.decoder.bias"): v for n, v in saved.items()
        },
    )
    base = load_base(str(folder), dtype=torch.float32)
    assert equal(base.model, weights)
    assert not list(base.notices())


def test_files_of_another_model_are_refused(bert):
    folder, _ = bert
    rewrite(folder, lambda saved: {"other." + name: value for name, value in saved.items()})
    with pytest.raises(UltraError, match=r"none of its weights fits BertForMaskedLM; it has other\."):
        load_base(str(folder), dtype=torch.float32)


def test_weights_that_are_not_finite_are_refused(bert):
    folder, _ = bert
    rewrite(folder, lambda saved: saved | {"cls.predictions.bias": torch.full((24,), float("nan"))})
    with pytest.raises(UltraError, match=r"weights that are not finite: cls\.predictions$"):
        load_base(str(folder), dtype=torch.float32)


def test_the_saved_model_has_the_precision_that_was_asked_for(bert):
    folder, weights = bert
    assert convert_saved(folder, "bf16") is None
    model = BertForMaskedLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert equal(model, {name: value.bfloat16() for name, value in weights.items()})


def test_weights_that_are_too_large_for_a_precision_are_not_converted(bert):
    folder, _ = bert
    rewrite(folder, lambda saved: saved | {"cls.predictions.bias": torch.full((24,), 1e5)})
    before = (folder / "model.safetensors").read_bytes()
    assert convert_saved(folder, "fp16") == "cls.predictions.bias"
    assert (folder / "model.safetensors").read_bytes() == before
    assert convert_saved(folder, "bf16") is None


class Tokenizer:
    """A tokenizer with so many tokens."""

    def __init__(self, size):
        self.size = size
        self.model_max_length = 10**30

    def __len__(self):
        return self.size

    def get_vocab(self):
        return {str(i): i for i in range(self.size)}


def test_roberta_reads_two_tokens_less_than_it_has_rows_for(tmp_path):
    RobertaForMaskedLM(RobertaConfig(**SIZES)).save_pretrained(tmp_path)
    base = load_base(str(tmp_path), dtype=torch.float32)
    tokenizer = Tokenizer(24)
    with pytest.raises(UltraError, match=r"max_length is 15, but .* reads at most 14 tokens"):
        list(base.fit(tokenizer, 15))
    assert not list(base.fit(tokenizer, 14))
    assert tokenizer.model_max_length == 14


def test_a_model_without_a_table_of_positions_may_read_on(tmp_path):
    config = DebertaV2Config(**SIZES, position_biased_input=False, relative_attention=True)
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    base = load_base(str(tmp_path), dtype=torch.float32)
    assert list(base.fit(Tokenizer(24), 20)) == [
        "was made for 16 tokens; rows have up to 20 (training.max_length)"
    ]


def test_a_model_that_does_not_run_is_an_error(bert):
    base = load_base(str(bert[0]), dtype=torch.float32)
    del base.model.bert.encoder
    with pytest.raises(UltraError, match=r"BertForMaskedLM\) cannot be run .*: AttributeError: .*encoder"):
        list(base.fit(Tokenizer(24), 16))


def test_tokens_without_a_row_get_one(bert):
    base = load_base(str(bert[0]), dtype=torch.float32)
    (line,) = base.fit(Tokenizer(30), 16)
    assert line == "has 24 rows of embeddings; 6 more tokens get rows of their own"
    assert base.model.get_input_embeddings().weight.shape[0] == 64


def test_what_bigbird_computes_does_not_depend_on_the_batch_before(tmp_path):
    torch.manual_seed(0)
    sizes = {**SIZES, "max_position_embeddings": 64, "block_size": 4, "num_random_blocks": 1}
    BigBirdForMaskedLM(BigBirdConfig(**sizes, attention_type="block_sparse")).save_pretrained(tmp_path)
    model = load_base(str(tmp_path), dtype=torch.float32).model.eval()
    long, short = torch.randint(3, 24, (2, 60)), torch.randint(3, 24, (2, 12))
    before = model(input_ids=long).logits
    generator = torch.get_rng_state()
    sparse = model.bert.encoder.layer[0].attention.self
    model(input_ids=short)
    assert type(model.bert.encoder.layer[0].attention.self) is type(sparse)
    assert torch.equal(model(input_ids=long).logits, before)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert generator is not None
