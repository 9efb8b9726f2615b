from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import nn

from support.hf_models import make
from support.memory import peak_bytes
from support.splade import FAMILIES, TEXTS, write_family, write_model
from ultra_train.embeddings.splade.chunked import pool, pool_in_chunks


class Holding(nn.Linear):
    """An output layer that records how many logits it returned at a time."""

    most = 0

    def forward(self, hidden):
        output = super().forward(hidden)
        Holding.most = max(Holding.most, output.numel())
        return output


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of tiny masked language models by family."""
    folder = tmp_path_factory.mktemp("bases")
    found = {family: write_family(folder / family, family) for family in FAMILIES}
    return found | {"ultra": write_model(folder / "ultra", make(vocab_size=60))}


def encoder(base, **options):
    transformer = Transformer(str(base), transformer_task="fill-mask", model_kwargs={"dtype": torch.float64})
    return SparseEncoder(modules=[transformer, SpladePooling(**options)], device="cpu").eval()


def embeddings(model):
    return model(model.preprocess(TEXTS))["sentence_embedding"]


def gradients(model):
    torch.manual_seed(0)  # of dropout
    found = embeddings(model)
    (found * torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", [*FAMILIES, "ultra"])
@pytest.mark.parametrize(
    ("strategy", "activation"), [("max", "relu"), ("max", "log1p_relu"), ("sum", "relu")]
)
def test_embeddings_and_gradients_are_those_of_the_librarys_pooling(family, strategy, activation, bases):
    plain = encoder(bases[family], pooling_strategy=strategy, activation_function=activation)
    chunked = copy.deepcopy(plain)
    chunked[1].chunk_size = 2
    assert pool_in_chunks(chunked) == []
    torch.testing.assert_close(embeddings(chunked), embeddings(plain), rtol=1e-12, atol=1e-12)
    assert (embeddings(plain) > 0).any()
    expected = gradients(plain.train())  # in training the library changes nothing in place
    for name, found in gradients(chunked.train()).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-12, atol=1e-12, msg=name)


def test_the_model_itself_still_returns_its_logits_and_is_saved_as_it_was(bases, tmp_path):
    plain, chunked = encoder(bases["bert"]), encoder(bases["bert"])
    pool_in_chunks(chunked)
    inputs = {"input_ids": torch.tensor([[5, 6]])}
    assert torch.equal(chunked[0].model(**inputs).logits, plain[0].model(**inputs).logits)
    expected = embeddings(plain)
    torch.testing.assert_close(embeddings(chunked), expected)
    for name, model in (("plain", plain), ("chunked", chunked)):
        model.save_pretrained(str(tmp_path / name))
    for file in ("modules.json", "config.json", "1_SpladePooling/config.json"):
        assert json.loads((tmp_path / "chunked" / file).read_text()) == json.loads(
            (tmp_path / "plain" / file).read_text()
        )
    torch.testing.assert_close(embeddings(encoder(tmp_path / "chunked")), expected)


def test_copies_pool_in_chunks_with_their_own_weights(bases):
    chunked = encoder(bases["bert"])
    pool_in_chunks(chunked)
    expected = embeddings(chunked)
    for copied in (copy.deepcopy(chunked), pickle.loads(pickle.dumps(chunked))):
        with torch.no_grad():
            copied[0].model.get_output_embeddings().weight.mul_(2)
        assert not torch.equal(embeddings(copied), expected)
        assert torch.equal(embeddings(chunked), expected)


def test_any_output_layer_returns_the_logits_of_a_chunk_at_a_time():
    torch.manual_seed(0)
    layer, states = Holding(4, 50).double(), torch.randn(3, 20, 4).double().requires_grad_()
    mask = torch.arange(20) < torch.tensor([[20], [4], [9]])
    plain = SpladePooling()
    pooled = pool(layer, states, mask, SpladePooling(chunk_size=2))
    found = torch.autograd.grad(pooled.square().sum(), [states, layer.weight])
    assert Holding.most == 3 * 2 * 50
    features = {"token_embeddings": layer(states), "attention_mask": mask}
    expected = plain(features)["sentence_embedding"]
    torch.testing.assert_close(pooled, expected)
    for a, b in zip(found, torch.autograd.grad(expected.square().sum(), [states, layer.weight]), strict=True):
        torch.testing.assert_close(a, b)
    assert not pool(layer, states, torch.zeros_like(mask), plain).any()


@pytest.mark.parametrize("strategy", ["max", "sum"])
def test_a_step_needs_a_small_part_of_the_memory_of_all_logits(strategy):
    torch.manual_seed(0)
    layer, mask = nn.Linear(8, 2000), torch.ones(8, 64, dtype=torch.bool)

    def step(pooled):
        states = torch.randn(8, 64, 8).requires_grad_()
        pooled(states).square().sum().backward()

    def naive(states):
        features = {"token_embeddings": layer(states), "attention_mask": mask}
        return SpladePooling(strategy).train()(features)["sentence_embedding"]

    chunked = SpladePooling(strategy, chunk_size=2)
    needed = peak_bytes(lambda: step(lambda states: pool(layer, states, mask, chunked)))
    assert needed < 0.15 * peak_bytes(lambda: step(naive))


def test_flat_inputs_and_the_routes_of_a_router(bases):
    splade = encoder(bases["bert"])
    pool_in_chunks(splade)
    features = splade.preprocess(TEXTS)
    lengths = features["attention_mask"].sum(1)
    states = torch.randn(1, int(lengths.sum()), 16, dtype=torch.float64)
    borders = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    flat = {"states_before_output_layer": states, "cu_seq_lens_q": borders}
    layer = splade[0].model.get_output_embeddings()
    expected = torch.stack([layer(part).relu().log1p().amax(0) for part in states[0].split(lengths.tolist())])
    torch.testing.assert_close(splade[1](flat)["sentence_embedding"], expected)

    router = Router.for_query_document([*encoder(bases["bert"]).children()], [*splade.children()])
    routed = SparseEncoder(modules=[router], device="cpu")
    assert pool_in_chunks(routed) == []
    assert all("forward" in vars(route[1]) for route in router.sub_modules.values())


def test_a_head_that_changes_its_logits_keeps_the_librarys_pooling(bases):
    splade = encoder(bases["bert"])
    splade[0].model.register_forward_hook(
        lambda model, args, output: output | {"logits": output.logits.sigmoid()}
    )
    expected = embeddings(splade)
    (reason,) = pool_in_chunks(splade)
    assert "changes the logits after the output layer" in reason
    assert torch.equal(embeddings(splade), expected)
