from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BigBirdConfig,
    BigBirdForMaskedLM,
    DebertaConfig,
    DebertaForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    EuroBertConfig,
    FNetConfig,
    FNetModel,
    ModernBertConfig,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ultra_core.errors import UltraError
from ultra_train.hf.precision import convert_saved
from ultra_train.tasks.base_model import load_base

SIZES = {
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}


class Tokenizer:
    """What a base model asks of a tokenizer."""

    def __init__(self, pad=0, model_max_length=10**30):
        self.pad_token_id = pad
        self.model_max_length = model_max_length


TOKENIZER = Tokenizer()
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
    assert not list(base.check(TOKENIZER, 16))


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
    (line,) = base.check(TOKENIZER, 16)
    assert line.startswith(
        f"is saved in {'bf16' if half == torch.bfloat16 else 'fp16'}; its weights are trained"
    )


def test_another_precision_of_the_weights_when_it_is_asked_for(bert):
    base = load_base(str(bert[0]), dtype=torch.bfloat16)
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_a_head_that_is_not_there_is_told(bert, tmp_path):
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path / "bare")
    base = load_base(str(tmp_path / "bare"), dtype=torch.float32)
    fresh, unused = base.check(TOKENIZER, 16)
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
    assert not list(base.check(TOKENIZER, 16))
    base.model.save_pretrained(tmp_path / "again")
    assert equal(model.from_pretrained(tmp_path / "again"), original.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_with_the_prefix_of_a_wrapper_find_their_place(bert, prefix):
    folder, weights = bert
    rewrite(folder, lambda saved: {prefix + name: value for name, value in saved.items()})
    base = load_base(str(folder), dtype=torch.float32)
    assert equal(base.model, weights)
    assert not list(base.check(TOKENIZER, 16))


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
    assert not list(base.check(TOKENIZER, 16))


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
    assert not list(base.check(TOKENIZER, 16))


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


def test_roberta_reads_two_tokens_less_than_it_has_rows_for(tmp_path):
    RobertaForMaskedLM(RobertaConfig(**SIZES)).save_pretrained(tmp_path)
    base = load_base(str(tmp_path), dtype=torch.float32)
    with pytest.raises(UltraError, match=r"max_length is 15, but .* reads at most 14 tokens"):
        list(base.check(Tokenizer(1), 15))
    tokenizer = Tokenizer(1)
    assert not list(base.check(tokenizer, 14))
    assert tokenizer.model_max_length == 14


@pytest.mark.parametrize(
    ("said", "expected"), [(12, 12), (8, 16), (10**30, 16), (0, 16), (-1, 16), ("12", 16), (None, 16)]
)
def test_the_tokenizer_is_told_what_the_run_can_read(bert, said, expected):
    tokenizer = Tokenizer(model_max_length=said)
    assert not list(load_base(str(bert[0]), dtype=torch.float32).check(tokenizer, 10))
    assert tokenizer.model_max_length == expected


def test_a_model_without_a_table_of_positions_may_read_on(tmp_path):
    config = DebertaV2Config(**SIZES, position_biased_input=False, relative_attention=True)
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    base, tokenizer = load_base(str(tmp_path), dtype=torch.float32), Tokenizer()
    (line,) = base.check(tokenizer, 20)
    assert line == "was made for 16 tokens; rows have up to 20 (training.max_length)"
    assert tokenizer.model_max_length == 20
    base.model.config.max_position_embeddings = -1  # which some configs say for "as many as you like"
    assert not list(base.check(tokenizer, 30))
    assert tokenizer.model_max_length == 30


def test_a_model_that_does_not_run_is_an_error(bert):
    base = load_base(str(bert[0]), dtype=torch.float32)
    del base.model.bert.encoder
    with pytest.raises(UltraError, match=r"BertForMaskedLM\) cannot be run .*: AttributeError: .*encoder"):
        list(base.check(Tokenizer(), 16))


def test_a_tokenizer_that_pads_with_another_token_is_told(bert):
    (line,) = load_base(str(bert[0]), dtype=torch.float32).check(Tokenizer(pad=3), 16)
    assert line == "pads with token 0, the tokenizer with 3: do they belong together?"


def test_weights_of_another_shape_are_named(bert):
    folder, _ = bert
    rewrite(folder, lambda saved: saved | {"cls.predictions.bias": torch.zeros(7)})
    with pytest.raises(UltraError, match=r"cls\.predictions\.bias is 7 in its files, but 24 by its config"):
        load_base(str(folder), dtype=torch.float32)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float33"},
        {"hidden_size": "abc"},
        {"num_attention_heads": 0},
        {"pad_token_id": 9999},
        {"hidden_act": "swooosh"},
        {"model_type": "gpt2"},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    ],
)
def test_a_config_that_cannot_be_is_an_error(bert, change):
    folder, _ = bert
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UltraError, match=r"^base_model .*bert'(:| cannot be loaded:) \w"):
        load_base(str(folder), dtype=torch.float32)


def test_quantised_weights_are_refused(bert):
    folder, _ = bert
    rewrite(folder, lambda saved: {n: v.to(torch.int8) for n, v in saved.items()})
    with pytest.raises(UltraError, match=r"its weights are quantised \(I8\)"):
        load_base(str(folder), dtype=torch.float32)


def test_what_the_files_are_is_said_not_what_the_config_says(bert):
    folder, weights = bert
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    base = load_base(str(folder), dtype=torch.float32)
    assert base.dtype == torch.float32
    assert equal(base.model, weights)


def test_fresh_weights_follow_the_generator(tmp_path):
    """Transformers leaves the bias of FNet's head as it finds the memory."""
    FNetModel(FNetConfig(**{k: v for k, v in SIZES.items() if k != "num_attention_heads"})).save_pretrained(
        tmp_path
    )
    found = []
    for garbage in (float("nan"), 7.0):
        waste = [torch.full((24,), garbage) for _ in range(64)]
        del waste
        torch.manual_seed(5)
        found.append(load_base(str(tmp_path), dtype=torch.float32).model.state_dict())
    assert not found[0]["cls.predictions.bias"].any()
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_config_that_asks_for_attentions_can_be_saved(bert, tmp_path):
    folder, _ = bert
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"output_attentions": True}))
    load_base(str(folder), dtype=torch.float32).model.save_pretrained(tmp_path / "again")


def attention(model):
    return type(model.bert.encoder.layer[0].attention.self).__name__


def test_what_bigbird_computes_does_not_depend_on_the_batch_before(tmp_path):
    torch.manual_seed(0)
    sizes = {**SIZES, "max_position_embeddings": 64, "block_size": 4, "num_random_blocks": 1}
    BigBirdForMaskedLM(BigBirdConfig(**sizes, attention_type="block_sparse")).save_pretrained(tmp_path)
    model = load_base(str(tmp_path), dtype=torch.float32).model.eval()
    long, short = torch.randint(3, 24, (2, 60)), torch.randint(3, 24, (2, 12))
    before = model(input_ids=long).logits
    assert attention(model) == "BigBirdBlockSparseAttention"
    model(input_ids=short)
    assert attention(model) == "BigBirdSelfAttention"
    assert torch.equal(model(input_ids=long).logits, before)
    assert attention(model) == "BigBirdBlockSparseAttention"
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_bigbird_computes_short_batches_again_in_the_backward_pass(tmp_path):
    torch.manual_seed(0)
    sizes = {**SIZES, "max_position_embeddings": 64, "block_size": 4, "num_random_blocks": 1}
    BigBirdForMaskedLM(BigBirdConfig(**sizes, attention_type="block_sparse")).save_pretrained(tmp_path)
    model = load_base(str(tmp_path), dtype=torch.float32).model.train()
    model.activation_checkpointing_enable()
    ids = torch.randint(3, 24, (2, 20))
    model(input_ids=ids, labels=ids).loss.backward()


@pytest.mark.parametrize("config", [ModernBertConfig, EuroBertConfig])
def test_dynamic_positions_do_not_depend_on_the_batch_before(config, tmp_path):
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    layers = {"full_attention": rope, "sliding_attention": rope} if config is ModernBertConfig else rope
    made = config(**SIZES, **special, rope_parameters=layers, num_key_value_heads=2)
    AutoModelForMaskedLM.from_config(made).save_pretrained(tmp_path)
    model = load_base(str(tmp_path), dtype=torch.float32).model.eval()
    longest, long = torch.randint(3, 24, (2, 60)), torch.randint(3, 24, (2, 30))
    before = model(input_ids=long).logits
    assert not torch.equal(model(input_ids=longest).logits[:, :30], before)
    assert torch.equal(model(input_ids=long).logits, before)
