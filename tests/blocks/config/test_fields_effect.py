"""Every field of UltraConfig acts: each value of it makes another model than every other value."""

import itertools

import attrs
import pytest
import torch

from ultra_blocks.config import UltraConfig
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig

SMALL = {
    "vocab_size": 30, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "retention_heads": 2,
    "num_experts": 3, "dropout": 0.0, "use_moe": False, "ffn_hidden_size": 24, "max_positions": 16,
    "initializer_range": 0.2,
}  # fmt: skip
HOPE = {"layer_pattern": [{"titan_attn": {"memory": False}}]}
ODE = {"layer_pattern": ["ode"]}
NORMS = ["layer_norm", "rms_norm", "dynamic_tanh", "derf", {"layer_norm": {"eps": 0.5}}]
CODES = [None, "nope", "alibi", "hope", "learned", "sinusoidal", {"rope": {"base": 50.0}}]

SHAPES, OUTPUTS, WEIGHTS = "shapes", "outputs", "weights"
"""What differs: names or shapes of parameters; outputs and gradients of equal weights; the first weights."""

FIELDS = {
    "vocab_size": (SHAPES, [30, 40], {}),
    "hidden_size": (SHAPES, [16, 32], {}),
    "num_layers": (SHAPES, [1, 2, 3], {}),
    "num_loops": (OUTPUTS, [1, 2, 3], {}),
    "num_heads": (OUTPUTS, [1, 2, 4], {}),
    "num_kv_heads": (SHAPES, [1, 2, 4], {"num_heads": 4, "layer_pattern": ["gqa_attn"]}),
    "retention_heads": (OUTPUTS, [1, 2, 4], {"layer_pattern": ["retnet"]}),
    "num_experts": (SHAPES, [2, 3, 5], {"use_moe": True}),
    "top_k_experts": (OUTPUTS, [1, 2, 3], {"use_moe": True}),
    "dropout": (OUTPUTS, [0.0, 0.1, 0.4], {}),
    "layer_pattern": (SHAPES, [["standard_attn"], ["retnet"], ["retnet", "standard_attn"], ["mamba"]], {}),
    "ode_solver": (OUTPUTS, ["euler", "midpoint", "heun", "rk4"], ODE),
    "ode_steps": (OUTPUTS, [1, 2, 3], ODE),
    "use_bitnet": (OUTPUTS, [False, True], {}),
    "norm_type": (OUTPUTS, NORMS, {}),
    "use_factorized_embedding": (SHAPES, [False, True], {}),
    "factorized_embedding_dim": (SHAPES, [4, 6], {"use_factorized_embedding": True}),
    "use_embedding_conv": (SHAPES, [False, True], {}),
    "embedding_conv_kernel": (SHAPES, [2, 3, 32], {"use_embedding_conv": True}),
    "embedding_norm": (SHAPES, [False, True], {}),
    "norm_placement": (SHAPES, ["pre", "post"], {}),
    "first_norm": (SHAPES, [False, True], {}),
    "type_vocab_size": (SHAPES, [0, 1, 2], {}),
    "hope_base": (OUTPUTS, [10.0, 10_000.0], HOPE),
    "hope_damping": (OUTPUTS, [0.0, 0.01, 0.5], HOPE),
    "rope_base": (OUTPUTS, [None, 10.0, 100.0], {}),
    "rope_factor": (OUTPUTS, [None, 2.0, 0.5], {}),
    "use_hope": (OUTPUTS, [True, False], HOPE),
    "use_moe": (SHAPES, [True, False], {}),
    "ffn_hidden_size": (SHAPES, [24, 32], {}),
    "ffn_activation": (OUTPUTS, ["gelu", "silu", "mish", "softplus", "swiglu", "geglu"], {}),
    "ffn": (OUTPUTS, ["mlp", "glu", {"glu": {"activation": "relu"}}, "moe"], {"use_moe": None}),
    "positions": (OUTPUTS, CODES, {}),
    "max_positions": (SHAPES, [16, 20], {"positions": "learned"}),
    "causal": (OUTPUTS, [False, True], {}),
    "tie_embeddings": (SHAPES, [True, False], {}),
    "head_activation": (OUTPUTS, ["gelu", "silu", "relu", "tanh"], {}),
    "head_bias": (SHAPES, [True, False], {}),
    "decoder_bias": (SHAPES, [True, False], {}),
    "initializer_range": (WEIGHTS, [0.02, 0.2], {}),
}


def build(**fields):
    torch.manual_seed(0)
    return UltraForMaskedLM(UltraHFConfig(**{**SMALL, **fields}))


def shapes(model):
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def found(model):
    """Return the loss in training and its gradients, as one vector."""
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():  # from nothing but shapes, so that it is the same in every model that has it
        with torch.no_grad():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator) + (p.ndim == 1))
    ids = torch.randint(SMALL["vocab_size"], (2, 9), generator=generator)
    torch.manual_seed(2)
    loss = model.train()(ids, torch.arange(9) < torch.tensor([[9], [6]]), labels=ids).loss
    gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True, allow_unused=True)
    return torch.cat([loss[None], *(g.flatten() for g in gradients)]).detach()


def test_no_field_is_missing():
    assert list(FIELDS) == [field.name for field in attrs.fields(UltraConfig)]


@pytest.mark.parametrize("name", FIELDS)
def test_it_acts(name):
    what, values, base = FIELDS[name]
    models = [build(**{**base, name: value}) for value in values]
    again = build(**{**base, name: values[0]})
    assert shapes(again) == shapes(models[0])
    if what == WEIGHTS:
        drawn = [torch.cat([p.flatten() for p in model.parameters()]) for model in (*models, again)]
    elif what == OUTPUTS:
        drawn = [found(model) for model in (*models, again)]
    if what != SHAPES:
        assert torch.equal(drawn.pop(), drawn[0]), "one model gives two results"
    for (i, one), (j, other) in itertools.combinations(enumerate(models), 2):
        said = f"{name}: {values[i]!r} and {values[j]!r} make the same model"
        if what == SHAPES:
            assert shapes(one) != shapes(other), said
        elif shapes(one) == shapes(other):
            error = (drawn[i] - drawn[j]).abs().max() / drawn[i].abs().max()
            assert error > 1e-4, said
