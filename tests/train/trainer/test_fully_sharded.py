"""How a model is divided among processes: every architecture computes as in one piece."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
)

from support.hf_models import VARIANTS, batch, make
from support.ranks import on_ranks
from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.run.strategy import pick_strategy
from ultra_train.trainer.fully_sharded import (
    fsdp_plugin,
    layer_classes,
    reshard,
    shard_on_cpu,
    sharded_as_it_is,
)
from ultra_train.trainer.norms import scale_to_norm_, total_norm
from ultra_train.trainer.whole_model import fill_weights, named_weights, plain_model, whole_tensors

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "albert": AlbertConfig(**SMALL, embedding_size=8),
    "distilbert": DistilBertConfig(
        vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=32
    ),
    "deberta": DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "modernbert": ModernBertConfig(**SMALL, cls_token_id=1, sep_token_id=2, attn_implementation="eager"),
}


def models() -> dict[str, Any]:
    """A tiny model of every architecture."""
    built: dict[str, Any] = {f"ultra-{i}": make(**fields) for i, fields in enumerate(VARIANTS)}
    torch.manual_seed(0)
    for name, config in CONFIGS.items():
        built[name] = AutoModelForMaskedLM.from_config(config).eval()
    return {name: model.double() for name, model in built.items()}


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Forward and backward on one batch, twice; return the whole gradients."""
    inputs = {name: t for name, t in batch().items() if name != "position_ids"}
    for _ in range(2):
        model(**inputs).loss.backward()
    named = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    return whole_tensors(named, keep=True)


def _sharded() -> dict[str, Any]:
    from accelerate import Accelerator

    found: dict[str, Any] = {}
    for name, model in models().items():
        plugin = fsdp_plugin(model)
        accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
        shard_on_cpu(accelerator, plugin)
        accelerator.state.fsdp_plugin = plugin
        before = {n: t.clone() for n, t in model.state_dict().items()}
        with sharded_as_it_is(model):
            sharded, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
        parts = gradients(sharded)
        given = [p.grad for p in sharded.parameters() if p.grad is not None]
        norm = total_norm(given)
        scale_to_norm_(given, 1e-3, norm)
        with torch.no_grad():
            sharded(**batch())  # leaves whole parameters behind
        reshard(sharded)
        weights = whole_tensors(named_weights(sharded), keep=True)
        changed = {n: t + 1 if t.is_floating_point() else t for n, t in before.items()}
        filled = fill_weights(sharded, changed)
        after = whole_tensors(named_weights(sharded), keep=True)
        plain = plain_model(sharded, weights)
        found[name] = {
            "gradients": parts,
            "norm": norm.item(),
            "clipped": total_norm(given).item(),
            "kept": all(torch.equal(weights[n], before[n]) for n in before),
            "filled": filled == before.keys() and all(torch.equal(after[n], changed[n]) for n in before),
            "class": type(plain).__name__,
            "same": all(torch.equal(plain.state_dict()[n], before[n]) for n in before),
        }
    return found


@pytest.fixture(scope="module")
def sharded() -> dict[str, Any]:
    """What two processes found for every model."""
    import accelerate

    del accelerate
    return on_ranks(2, _sharded)[0]


@pytest.mark.parametrize("name", models())
def test_a_sharded_model_computes_as_a_whole_one(name: str, sharded: dict[str, Any]) -> None:
    model = models()[name]
    expected, found = gradients(copy.deepcopy(model)), sharded[name]
    assert found["gradients"].keys() == expected.keys()
    for n, gradient in expected.items():
        torch.testing.assert_close(found["gradients"][n], gradient, rtol=1e-9, atol=1e-12, msg=n)
    norm = torch.nn.utils.get_total_norm(expected.values()).item()
    assert found["norm"] == pytest.approx(norm, rel=1e-12)
    assert found["clipped"] == pytest.approx(min(norm, 1e-3), rel=1e-3)
    assert found["kept"]
    assert found["filled"]
    assert found["class"] == type(model).__name__
    assert found["same"]


def test_layers_are_units_and_embeddings_are_not() -> None:
    assert layer_classes(make()) == ["UltraEncoderLayer"]
    assert layer_classes(AutoModelForMaskedLM.from_config(CONFIGS["bert"])) == ["BertLayer"]


@pytest.fixture
def training(tiny_preset: Any) -> Any:
    """Return the section ``training`` of the tiny preset."""
    return lambda *overrides: load_preset(tiny_preset, overrides).training


def test_the_strategy_is_that_of_preset_and_launcher(training: Any, monkeypatch: Any) -> None:
    assert pick_strategy(training()) == "ddp"
    assert pick_strategy(training("training.distributed=fsdp")) == "fsdp"
    with pytest.raises(UltraError, match=r"Use training\.distributed: fsdp"):
        pick_strategy(training("training.distributed=deepspeed"))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert pick_strategy(training()) == "ddp"  # accelerate itself sets it
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert pick_strategy(training()) == "fsdp"
    with pytest.raises(UltraError, match="is ddp, but accelerate launch was told to use fsdp"):
        pick_strategy(training("training.distributed=ddp"))
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UltraError, match="--fsdp_version 2"):
        pick_strategy(training())


def _dtypes() -> tuple[set[torch.dtype], str]:
    from accelerate import Accelerator

    model = make().to(torch.bfloat16)
    plugin = fsdp_plugin(model)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16", fsdp_plugin=plugin)
    shard_on_cpu(accelerator, plugin)
    with sharded_as_it_is(model):
        sharded, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    return {p.dtype for p in sharded.parameters()}, accelerator.mixed_precision


def test_weights_in_bf16_stay_so_with_mixed_precision() -> None:
    assert on_ranks(2, _dtypes)[0] == ({torch.bfloat16}, "bf16")


def _in_units_by_size() -> str:
    from accelerate import Accelerator

    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_MIN_NUM_PARAMS": "100"}
    os.environ["FSDP_AUTO_WRAP_POLICY"] = "SIZE_BASED_WRAP"
    model = make()
    plugin = fsdp_plugin(model)
    accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
    shard_on_cpu(accelerator, plugin)
    with sharded_as_it_is(model), pytest.raises(UltraError) as refused:
        accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    return str(refused.value)


def test_a_configuration_of_the_launcher_that_does_not_fit_is_refused() -> None:
    said = on_ranks(2, _in_units_by_size)[0]
    assert said.startswith("the model cannot be sharded as accelerate launch was told: fully_shard does not")
