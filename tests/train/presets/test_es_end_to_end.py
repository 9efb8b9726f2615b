"""Every Spanish preset, as its twin: trained, killed, resumed bit for bit, saved, loaded."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from support.killed_twin import trained_twice
from ultra_core import presets
from ultra_core.config.preset_meta import read_meta
from ultra_train.config import load_preset
from ultra_train.trainer.optimizers import evaluation_weights
from ultra_train.twins.twin import UPDATES, twin

NAMES = [
    name
    for name in presets.names()
    if "optimizer_benchmark" in read_meta(presets.get(name)).get("guides", ())
]


@pytest.mark.parametrize("name", NAMES)
def test_its_twin_trains_resumes_exactly_and_loads(name, twins, command_cache, tmp_path, monkeypatch):
    preset = twin(load_preset(name), twins, cache_dir=command_cache)
    unbroken, killed, checkpoint, trained = trained_twice(preset, UPDATES, tmp_path, monkeypatch)
    expected, found = (load_file(f / "model" / "model.safetensors") for f in (unbroken, killed))
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    before = load_file(checkpoint.path / "model.safetensors")
    moved = [key for key in before if not torch.equal(before[key], expected[key])]
    assert len(moved) > len(before) / 2, "rounding leaves some vectors where they are"

    tokenizer = AutoTokenizer.from_pretrained(killed / "model")
    text = f"abre la {tokenizer.mask_token} del garaje"
    inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    loaded = AutoModelForMaskedLM.from_pretrained(killed / "model").eval()
    with torch.no_grad(), evaluation_weights(trained["optimizer"]):
        logits = [model(**inputs).logits for model in (loaded, trained["model"].eval())]
    assert torch.equal(*logits)
    assert tokenizer.mask_token_id in inputs["input_ids"]
