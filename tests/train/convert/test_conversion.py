"""Converted models compute what the originals compute, and every tensor is restored on the way back."""

import attrs
import pytest
import torch
import transformers
from transformers import AutoModelForMaskedLM

from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_core.errors import UltraError
from ultra_train.convert import conversion
from ultra_train.convert.conversion import FAMILIES, family_of, into_ultra, out_of_ultra

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "initializer_range": 0.3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
ROBERTA = {**SIZES, "max_position_embeddings": 42, "pad_token_id": 1, "type_vocab_size": 1}
MODERN = {
    **{name: SIZES[name] for name in list(SIZES)[:6]},
    "max_position_embeddings": 64,
    "local_attention": 8,
    **{f"{name}_token_id": number for number, name in enumerate(("pad", "bos", "eos", "cls", "sep"))},
}
BIASED = dict.fromkeys(("norm_bias", "attention_bias", "classifier_bias"), True)
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**SIZES, max_position_embeddings=40),
    "bert with relu": lambda: transformers.BertConfig(**SIZES, hidden_act="relu", tie_word_embeddings=False),
    "roberta": lambda: transformers.RobertaConfig(**ROBERTA),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**ROBERTA),
    "camembert": lambda: transformers.CamembertConfig(**ROBERTA),
    "modernbert": lambda: transformers.ModernBertConfig(**MODERN),
    "modernbert with biases": lambda: transformers.ModernBertConfig(
        **MODERN, **BIASED, decoder_bias=False, tie_word_embeddings=False, hidden_activation="silu"
    ),
}
EXACT = {"modernbert": 1e-5}
"""Its rotary tables and its losses are fp32, ours fp64."""


def original(name: str) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases, which start as ones and zeros
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def batch(model: transformers.PreTrainedModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(6, 60, (3, 21), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 9:], mask[2, 1:] = 0, 0
    inputs = {"input_ids": ids.where(mask.bool(), model.config.pad_token_id), "attention_mask": mask}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (torch.arange(21) > 5).long().expand(3, 21) * mask
    return {**inputs, "labels": ids.where(mask.bool() & (ids % 3 == 0), -100)}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_gradients(name: str) -> None:
    theirs = original(name)
    ours = into_ultra(theirs).model.double()
    theirs, inputs = theirs.double(), batch(theirs)
    atol = EXACT.get(name.split(" ")[0], 1e-11)
    close = {"rtol": atol, "atol": atol, "check_dtype": False}
    results = [model(**inputs) for model in (theirs, ours)]
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(results[1].logits[real], results[0].logits[real], **close)
    torch.testing.assert_close(results[1].loss, results[0].loss, **close)
    tables = [model.get_input_embeddings().weight for model in (theirs, ours)]
    grads = [
        torch.autograd.grad(result.loss, table)[0] for result, table in zip(results, tables, strict=True)
    ]
    torch.testing.assert_close(grads[1], grads[0], **close)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_way_back_restores_every_tensor(name: str) -> None:
    theirs = original(name)
    family = family_of(theirs.config.model_type)
    back = out_of_ultra(into_ultra(theirs).model, family)
    assert back.dropped == ()
    found, wanted = back.model.state_dict(), theirs.state_dict()
    assert found.keys() == wanted.keys()
    unused = {"cls.predictions.bias"} if not theirs.config.tie_word_embeddings else set()
    assert [name for name in wanted.keys() - unused if not torch.equal(found[name], wanted[name])] == []
    assert back.model.config.pad_token_id == theirs.config.pad_token_id


def test_the_way_back_of_the_same_architecture_in_other_words() -> None:
    ours = into_ultra(original("bert")).model
    block = {"standard_attn": {"bias": True, "dropout": 0.0}}
    words = {"layer_pattern": [block] * 3, "retention_heads": 2, "use_hope": False}
    other = UltraForMaskedLM(UltraHFConfig.from_ultra(attrs.evolve(ours.config.to_ultra(), **words)))
    assert out_of_ultra(other, FAMILIES["bert"]).model.config.model_type == "bert"


def test_reasons_why_an_architecture_does_not_fit() -> None:
    ours = into_ultra(original("bert")).model
    with pytest.raises(UltraError, match=r"modernbert has no such.*norm_placement is 'post'.*positions is"):
        out_of_ultra(ours, FAMILIES["modernbert"])


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("bert", {"hidden_act": "quick_gelu"}, "its activation 'quick_gelu' is none of"),
        ("bert", {"is_decoder": True}, "its is_decoder is True; only False"),
        (
            "modernbert",
            {"rope_parameters": {k: {"rope_type": "yarn", "rope_theta": 1e4} for k in ("full_attention",)}},
            "its rope_type of full_attention is 'yarn'; only 'default'",
        ),
    ],
)
def test_options_without_counterpart(name: str, changed: dict[str, object], said: str) -> None:
    model = original(name)
    for option, value in changed.items():
        setattr(model.config, option, value)
    with pytest.raises(UltraError, match=said):
        into_ultra(model)


def test_other_families_are_named() -> None:
    with pytest.raises(UltraError, match=r"type 'electra' cannot be converted; those of bert, camembert"):
        family_of("electra")


def test_other_logits_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = conversion._fill

    def wrong(model, tensors):
        tensors["model.encoder.layers.0.mixer.qkv_proj.bias"].add_(0.1)
        fill(model, tensors)

    monkeypatch.setattr(conversion, "_fill", wrong)
    with pytest.raises(UltraError, match="has other logits: they differ by"):
        into_ultra(original("bert"))
