"""The optimizer of sparse presets, and the learning rates of their own in it."""

import pytest
import torch
from torch import nn

from ultra_core.errors import UltraError
from ultra_train.config.optimizer_build import build_optimizer
from ultra_train.tasks.sparse.lowering import lowered
from ultra_train.tasks.sparse.query_rates import own_rates, query_weights, roles_of

QUERY = "0.sub_modules.query.0.weight"
ATTENTION = "0.sub_modules.document.0.attention.self.query.weight"


@pytest.fixture
def model():
    """Modules with the names of an inference-free SPLADE encoder."""
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    class Tokenizer:
        model_max_length = 8

        def get_vocab(self):
            return dict.fromkeys(range(7))

    attention = nn.ModuleDict({"self": nn.ModuleDict({"query": nn.Linear(4, 4), "key": nn.Linear(4, 4)})})
    document = nn.Sequential(nn.ModuleDict({"attention": attention, "norm": nn.LayerNorm(4)}))
    query = nn.Sequential(SparseStaticEmbedding(Tokenizer()))
    router = nn.Module()
    router.sub_modules = nn.ModuleDict({"query": query, "document": document})
    return nn.Sequential(router)


def rates_of(model, preset):
    """Return the learning rate of every parameter in the optimizer of a preset."""
    training = preset.training
    rates = own_rates(model, training.query_learning_rate, preset.router.learning_rate_patterns)
    with roles_of(model, rates):
        built = build_optimizer(lowered(preset).optimizer, [model], updates=10)
    found = {}
    for group in built.param_groups:
        found |= dict.fromkeys(group["param_names"], group["lr"])
    assert found.keys() == dict(model.named_parameters()).keys()
    return found, rates.notices


OPTIMIZERS = ["adamw", "lion", "adafactor", "muon", "soap", "schedulefree_adamw", "adamw_8bit"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_query_learning_rate_reaches_exactly_the_query_weights(load, sparse, model, name):
    preset = load(
        sparse, f"training.optimizer={{optimizer_class: {name}}}", "training.scheduler_type=constant"
    )
    rates, _ = rates_of(model, preset)
    assert {parameter: rate for parameter, rate in rates.items() if rate != 2e-5} == {QUERY: 1e-3}


def test_a_multiple_for_an_optimizer_that_wants_one(load, sparse, model):
    preset = load(
        sparse, "training.optimizer={optimizer_class: prodigy, parameters: {prodigy-lr: 0.5}}",
        "training.scheduler_type=constant", "training.query_learning_rate=2.0",
    )  # fmt: skip
    rates, _ = rates_of(model, preset)
    assert rates[QUERY] == 2.0
    assert rates[ATTENTION] == 0.5


def test_the_optimizer_of_the_library_by_default(load, sparse):
    optimizer = lowered(load(sparse, "training.weight_decay=0.02")).optimizer
    assert optimizer.optimizer_class == "adamw"
    assert optimizer.parameters == {
        "adamw-lr": 2e-5,
        "adamw-weight_decay": 0.02,
        "adamw-lr_query": 1e-3,
        "adamw-betas": [0.9, 0.999],
        "adamw-eps": 1e-8,
    }


def test_what_the_section_says_wins(load, sparse):
    own = "{lion-lr: 1e-4, lion-wd: 0.1, lion-lr_query: 0.5}"
    preset = load(sparse, f"training.optimizer={{optimizer_class: lion, parameters: {own}}}")
    parameters = lowered(preset).optimizer.parameters
    assert parameters == {"lion-lr": 1e-4, "lion-wd": 0.1, "lion-lr_query": 0.5}


def test_queries_without_trained_weights_have_no_learning_rate(load, sparse):
    frozen = lowered(load(sparse, "model.freeze_static_embedding=true")).optimizer
    assert "adamw-lr_query" not in frozen.parameters


def test_a_pattern_that_means_the_query_weights(load, sparse, model):
    """The pattern of the first presets of this family, which also finds attention."""
    preset = load(
        sparse, r"router.learning_rate_patterns={'.*\.query\..*': 1e-3}", "training.query_learning_rate="
    )
    rates, (notice,) = rates_of(model, preset)
    assert rates[QUERY] == 1e-3
    assert rates[ATTENTION] == 2e-5
    assert "also found in 2 names of the document encoder" in notice


@pytest.mark.parametrize("pattern", [r"sub_modules\.query\.", r"SparseStaticEmbedding\.*"])
def test_patterns_that_find_the_query_weights_alone(load, sparse, model, pattern):
    """The second is the one in the documentation of sentence-transformers, where it finds nothing."""
    preset = load(
        sparse, f"router.learning_rate_patterns={{'{pattern}': 5e-3}}", "training.query_learning_rate="
    )
    rates, notices = rates_of(model, preset)
    assert {name for name, rate in rates.items() if rate == 5e-3} == {QUERY}
    assert notices == ()


def test_patterns_of_the_document_encoder(load, sparse, model):
    preset = load(sparse, "router.learning_rate_patterns={'attention.*weight': 1e-4, 'attention': 3e-4}")
    rates, _ = rates_of(model, preset)
    assert rates[ATTENTION] == 1e-4
    assert rates[ATTENTION.replace("weight", "bias")] == 3e-4
    assert rates[QUERY] == 1e-3
    assert rates["0.sub_modules.document.0.norm.weight"] == 2e-5


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("decoder", "no parameter has a name in which 'decoder'"), (r"\.query\.0", "keep one of the two")],
)
def test_patterns_that_cannot_be_meant(model, pattern, message):
    with pytest.raises(UltraError, match=message):
        own_rates(model, 1e-3, {pattern: 1e-4})


def test_the_query_weights_are_found_by_their_module(model):
    (weight,) = query_weights(model).values()
    assert torch.equal(weight, torch.ones(7))
