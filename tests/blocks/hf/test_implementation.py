"""``attn_implementation`` acts, or is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM

from support.hf_models import batch, make
from ultra_blocks.hf import UltraModel
from ultra_blocks.mixers import softmax

PATTERN = [
    "standard_attn",
    {"gqa_attn": {"num_kv_heads": 2}},
    {"sigmoid_attn": {"window": 3}},
    "fox_attn",
    {"ode": {"solver": "euler"}},
    "retnet",
]


def test_eager_computes_without_kernels_what_sdpa_computes_with_them(monkeypatch, tmp_path):
    model, inputs = make(layer_pattern=PATTERN, num_layers=6, causal=True).double(), batch()
    model.save_pretrained(tmp_path)
    expected = model(**inputs).logits

    def kernel(*args, **kwargs):
        raise AssertionError("a kernel")

    monkeypatch.setattr(softmax, "kernel_attention", kernel)
    monkeypatch.setattr(softmax, "tiled_attention", kernel)
    model.set_attn_implementation("eager")
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(model(**inputs).logits[real], expected[real], rtol=1e-9, atol=1e-9)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert loaded.config._attn_implementation == "eager"
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    model.set_attn_implementation({"": "sdpa"})
    with pytest.raises(AssertionError, match="a kernel"):
        model(**inputs)


@pytest.mark.parametrize(
    ("pattern", "chosen", "message"),
    [
        (["standard_attn", "longformer_attn"], "eager", "not supported by LongformerAttention"),
        (["retnet", "mamba"], "eager", "not supported by a model without softmax or sigmoid"),
        (["standard_attn"], "flash_attention_2", "must be sdpa or eager; given 'flash_attention_2'"),
        (["standard_attn"], "paged|eager", "given 'paged|eager'"),
    ],
)
def test_what_would_not_act_is_refused(pattern, chosen, message):
    model = make(UltraModel, layer_pattern=pattern)
    with pytest.raises(ValueError, match=message.replace("|", "[|]")):
        model.set_attn_implementation(chosen)
    assert model.config._attn_implementation == "sdpa"
    assert not any(getattr(module, "explicit", False) for module in model.modules())
