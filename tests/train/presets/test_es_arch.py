"""The nine custom architectures of the seeds' catalogue of Spanish presets: each builds small and trains."""

import pytest
import torch

from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_blocks.linear import BitLinear
from ultra_core import blocks, ffns, models, norms, optimizers
from ultra_optim import build

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "num_heads": 2, "retention_heads": 2, "ffn_hidden_size": 24,
    "num_experts": 4, "dropout": 0.1, "factorized_embedding_dim": 4, "initializer_range": 0.1,
}  # fmt: skip

CATALOGUE = {
    "es_arch_titan_dynamic_tanh_sgd_momentum": {
        "optimizer": "sgd_momentum",
        "norm_type": "dynamic_tanh",
        "layer_pattern": ["titan_attn"],
    },
    "es_arch_standard_layer_norm_prodigy": {
        "optimizer": "prodigy",
        "norm_type": "layer_norm",
        "layer_pattern": ["standard_attn"],
    },
    "es_arch_sigmoid_derf_muon": {
        "optimizer": "muon",
        "norm_type": "derf",
        "layer_pattern": ["sigmoid_attn"],
    },
    "es_arch_hybrid_turbo_muon": {
        "optimizer": "turbo_muon",
        "norm_type": "layer_norm",
        "layer_pattern": ["retnet", "titan_attn", "mamba", "ode"],
    },
    "es_arch_titan_hope_adan": {
        "optimizer": "adan",
        "norm_type": "dynamic_tanh",
        "layer_pattern": ["titan_attn"],
        "use_hope": True,
    },
    "es_arch_standard_sigmoid_adopt": {
        "optimizer": "adopt",
        "norm_type": "layer_norm",
        "layer_pattern": ["standard_attn", "sigmoid_attn"],
    },
    "es_arch_moe_titan_ademamix": {
        "optimizer": "ademamix",
        "norm_type": "layer_norm",
        "layer_pattern": ["titan_attn", "retnet"],
        "use_moe": True,
    },
    "es_arch_bitnet_factorized_mars_adamw": {
        "optimizer": "mars_adamw",
        "norm_type": "derf",
        "layer_pattern": ["retnet", "standard_attn"],
        "use_bitnet": True,
        "use_factorized_embedding": True,
    },
    "es_arch_mini_cautious_adamw": {
        "optimizer": "cautious_adamw",
        "model_class": "mini",
        "norm_type": "layer_norm",
        "layer_pattern": ["retnet", "titan_attn", "mamba", "ode", "standard_attn", "sigmoid_attn"],
    },
}


def small(name):
    """The architecture, and what was said of it."""
    torch.manual_seed(0)
    said = {"model_class": "frankenstein", "use_moe": False, **CATALOGUE[name]}
    del said["optimizer"]
    config = models.get(said.pop("model_class")).config(
        **{**SMALL, "num_layers": len(said["layer_pattern"]), **said}
    )
    return UltraForMaskedLM(UltraHFConfig.from_ultra(config, pad_token_id=0)).train(), config, said


def masked_batch():
    ids = torch.randint(5, 40, (3, 11))
    mask = torch.arange(11) < torch.tensor([[11], [7], [1]])
    labels = torch.where(mask & (torch.rand(3, 11) < 0.5), ids, -100)
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long(), "labels": labels}


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_builds_and_trains_a_step(name):
    model, config, said = small(name)
    layers = model.model.encoder.layers
    assert [type(layer.mixer) for layer in layers] == [blocks.get(b) for b in said["layer_pattern"]]
    assert type(model.model.encoder.norm) is norms.get(said["norm_type"])
    assert type(layers[0].ffn) is ffns.get("moe" if said["use_moe"] else "mlp")
    assert any(isinstance(m, BitLinear) for m in model.modules()) == config.use_bitnet
    assert (model.model.encoder.embeddings.projection is not None) == config.use_factorized_embedding

    optimizer = build("adamw", model, lr=1e-2)
    batch = masked_batch()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    losses = []
    for _ in range(20):
        loss = model(**batch).loss
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) == 1:
            still = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
            assert not still, f"one step leaves {still}"
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_optimizer_it_is_named_after_trains_it(name):
    said = CATALOGUE[name]["optimizer"]
    assert name.endswith(said)
    model = small(name)[0].double()  # fp32 would round the first steps of prodigy and plain momentum away
    optimizer, batch = build(said, model, lr=1e-3, total_steps=3), masked_batch()
    assert type(optimizer) is optimizers.get(said)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    for _ in range(3):  # some take their first step only to look
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert loss.isfinite()
    assert all(p.isfinite().all() for p in model.parameters())
    still = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    assert not still, f"three steps leave {still}"
