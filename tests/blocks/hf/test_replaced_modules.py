"""Nothing goes around a module: adapters, pruning and quantisation put others in its place."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import prune

from support.hf_models import batch, make
from ultra_core import blocks

KINDS = (nn.Linear, nn.Conv1d, nn.Embedding)
OPTIONS = {"nsa_attn": {"compress_block": 2, "compress_stride": 1, "select_block": 2, "num_selected": 3}}
"""Sizes for which all parts of a block have an effect on short rows."""
MODELS = {
    **{n: {"layer_pattern": [{n: OPTIONS.get(n, {})}], "num_layers": 1} for n in sorted(blocks.names())},
    "moe": {"num_layers": 1, "use_moe": True, "ffn": {"moe": {"shared_experts": 1}}},
    "glu": {"num_layers": 1, "ffn": "glu"},
    "factorized": {"num_layers": 1, "use_factorized_embedding": True, "factorized_embedding_dim": 6},
    "untied": {"num_layers": 1, "use_factorized_embedding": True, "factorized_embedding_dim": 6,
               "tie_embeddings": False, "positions": "learned"},
    "as BERT": {"num_layers": 1, "norm_placement": "post", "type_vocab_size": 2, "positions": "learned"},
    "bitnet": {"num_layers": 1, "use_bitnet": True},
}  # fmt: skip
STEPPING = [name for name in sorted(blocks.names()) if blocks.get(name).traits.recurrent_step]
PACKED = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2], [0, 0, 0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1]])


class Adapted(nn.Module):
    """A module around another, as adapters are."""

    def __init__(self, inner: nn.Module, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.scale


def inputs(*, packed: bool) -> dict[str, torch.Tensor]:
    made = batch()
    ids = made["input_ids"]
    return {"input_ids": ids, "document_ids": PACKED} if packed else made


def replaceable(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, KINDS)]


def put(model: nn.Module, name: str, scale: float) -> nn.Module:
    """Put a module around one of a model, and return that one."""
    parent, _, last = name.rpartition(".")
    inner = model.get_submodule(name)
    setattr(model.get_submodule(parent), last, Adapted(inner, scale))
    return inner


@pytest.mark.parametrize("fields", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_every_module_is_called(fields, packed):
    model, given = make(**fields).double(), inputs(packed=packed)
    before = model(**given).logits
    for name in replaceable(model):
        parent, _, last = name.rpartition(".")
        inner = put(model, name, 1.0)
        torch.testing.assert_close(model(**given).logits, before, rtol=0, atol=1e-10)
        model.get_submodule(name).scale = 1.5
        assert (model(**given).logits - before).abs().max() > 1e-7, name
        setattr(model.get_submodule(parent), last, inner)


@pytest.mark.parametrize("name", STEPPING)
def test_every_module_is_called_step_by_step(name):
    torch.manual_seed(0)
    heads = {} if name == "mamba" else {"num_heads": 4}
    block = blocks.get(name)(16, causal=True, **heads, **OPTIONS.get(name, {})).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    for module in replaceable(block):
        changed = copy.deepcopy(block)
        put(changed, module, 1.5)
        state = changed.init_state(2)
        steps = []
        for x_t in x.unbind(1):
            y, state = changed.step(x_t, state)
            steps.append(y)
        torch.testing.assert_close(torch.stack(steps, 1), changed(x), rtol=1e-9, atol=1e-9)


def test_pruned_weights_are_zero_everywhere():
    model = make(layer_pattern=["mamba"], use_moe=True, ffn={"moe": {}}, tie_embeddings=False).double()
    for module in model.modules():
        if isinstance(module, KINDS) and module is not model.get_input_embeddings():
            prune.random_unstructured(module, "weight", 0.5)
    given = inputs(packed=True)
    pruned = model(**given).logits
    for module in model.modules():
        if prune.is_pruned(module) and hasattr(module, "weight_mask"):
            prune.remove(module, "weight")
    assert torch.equal(model(**given).logits, pruned)


def test_weights_of_half_precision_under_another_module():
    model = make(use_moe=True, ffn={"moe": {}}, layer_pattern=["fox_attn"]).to(torch.bfloat16)
    given = inputs(packed=False)
    before = model(**given).logits
    for name in replaceable(model):
        put(model, name, 1.0)
    assert torch.equal(model(**given).logits, before)


def test_a_functional_call_uses_the_weights_it_is_given():
    model, given = make(layer_pattern=["mamba"], use_moe=True, ffn={"moe": {}}).double(), inputs(packed=True)
    other = {name: weight * 1.1 for name, weight in model.named_parameters()}
    called = functional_call(model, other, (), given).logits
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(other[name])
    assert torch.equal(model(**given).logits, called)
