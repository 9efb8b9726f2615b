"""The weights that ``output_attentions`` returns are those that the blocks compute with."""

from __future__ import annotations

import pytest
import torch

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForMaskedLM, UltraForSequenceClassification, UltraModel
from ultra_blocks.layout import Layout

BLOCKS = [
    "standard_attn",
    {"standard_attn": {"window": 3, "softcap": 2.0, "qk_norm": True}},
    {"gqa_attn": {"num_kv_heads": 2}},
    {"gated_softmax_attn": {"gate": "head"}},
    "fox_attn",
    {"sigmoid_attn": {"positions": "alibi"}},
    {"titan_attn": {"memory": False, "persistent_tokens": 0}},
]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_values_times_weights_are_what_the_block_returns(block, causal):
    model = make(UltraModel, layer_pattern=[block], num_layers=1, causal=causal).double()
    mixer = model.encoder.layers[0].mixer
    inputs = batch()
    layout = Layout.from_mask(inputs["attention_mask"], torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2]] * 3))
    x = torch.randn(3, 8, 16, dtype=torch.float64)
    weights = mixer.attention_weights(x, layout)
    assert weights.shape == (3, 4, 8, 8)
    _, _, v = mixer.project(layout.zero_padding(x))
    y = (weights @ v.repeat_interleave(4 // v.shape[1], 1)).transpose(1, 2).flatten(2)
    if hasattr(mixer, "gate_proj"):
        y = mixer._gated(y, layout.zero_padding(x))
    y = mixer.out_proj(y)
    if getattr(mixer, "output_norm", None) is not None:
        y = mixer.output_norm(y)
    torch.testing.assert_close(layout.zero_padding(y), mixer(x, layout), rtol=1e-9, atol=1e-9)
    assert not weights[layout.mask.logical_not()[:, None, :, None].expand_as(weights)].any()


def test_one_tensor_for_each_layer_with_a_gradient():
    model, inputs = make(UltraForMaskedLM, num_loops=2), batch()
    output = model(**inputs, output_attentions=True)
    assert [tuple(a.shape) for a in output.attentions] == [(3, 4, 8, 8)] * 4
    sums = output.attentions[0][inputs["attention_mask"].bool()[:, None].expand(3, 4, 8)].sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    output.attentions[1].square().sum().backward()
    assert model.model.encoder.layers[0].mixer.qkv_proj.weight.grad.any()
    del inputs["labels"]
    classifier = make(UltraForSequenceClassification)
    classifier.model.unpad_inputs = True
    assert len(classifier(**inputs, output_attentions=True).attentions) == 2
    assert classifier(**inputs).attentions is None
    hooks = [layer.mixer._forward_pre_hooks for layer in classifier.model.encoder.layers]
    assert not any(hooks)


def test_blocks_without_weights_are_named():
    model, ids = make(UltraModel, layer_pattern=["standard_attn", "mamba"]), batch()["input_ids"]
    with pytest.raises(ValueError, match=r"have no attention weights: 1 \(Mamba\)"):
        model(ids, output_attentions=True)
    model = make(UltraModel).train()
    model.activation_checkpointing_enable()
    with pytest.raises(ValueError, match="not while activations are recomputed"):
        model(ids, output_attentions=True)
