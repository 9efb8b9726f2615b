from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from ultra_blocks.config import UltraConfig
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_core.errors import UltraError
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.hf import compilation
from ultra_train.hf.compilation import METRIC, check_compiler, compile_encoder
from ultra_train.run import preparation

ENABLE = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
"""Names of the method in versions of transformers, newest first."""


def tiny():
    config = UltraConfig(
        vocab_size=60, hidden_size=16, num_layers=1, num_heads=2, layer_pattern=["standard_attn"],
        norm_type="layer_norm", ffn_hidden_size=32, use_moe=False, use_hope=False, dropout=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    return UltraForMaskedLM(UltraHFConfig.from_ultra(config)).train()


def bert():
    torch.manual_seed(0)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=32,
        )
    ).train()  # fmt: skip


def gradients(model, rows, length):
    """Loss and gradients of a batch with padding and some masked tokens, with dropout from a fixed seed."""
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(5, 60, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) > 0.3, -100)
    labels[:, 0] = 7
    torch.manual_seed(1)
    model.zero_grad()
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_graph_serves_all_batches_of_a_width_and_their_number_is_bounded():
    compiled, plain = tiny(), tiny()
    graphs = compile_encoder(compiled, backend="eager", most=1)
    graphs.metrics = metrics = {}
    for rows in (5, 3):
        equal(gradients(compiled, rows, 8), gradients(plain, rows, 8))
    assert (graphs.count, graphs.uncompiled, metrics) == (1, 0, {METRIC: 1})
    equal(gradients(compiled, 4, 16), gradients(plain, 4, 16))
    assert (graphs.count, graphs.uncompiled) == (1, 1)
    assert graphs.line == "1 graphs were compiled (at most 1); 1 more ran uncompiled"
    compiled.eval(), plain.eval()
    with torch.no_grad():  # evaluation makes no graphs
        ids = torch.arange(5, 17)[None]
        equal(compiled(ids).logits, plain(ids).logits)
    assert (graphs.count, graphs.uncompiled) == (1, 1)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_a_run_of_mixed_lengths_says_how_many_graphs_it_made(run_tiny, tmp_path, monkeypatch, capsys):
    """With evaluation, and without the compiler, which takes its time."""
    monkeypatch.setattr(preparation, "compile_encoder", partial(compile_encoder, backend="eager"))
    folder = run_tiny(tmp_path, "training.compile=true", "training.max_steps=2", "model.num_layers=1")
    graphs = [r[METRIC] for r in MetricsFile(folder / "metrics.jsonl").read() if METRIC in r][-1]
    assert 1 < graphs <= 12
    assert f"{graphs} graphs were compiled (at most 12)" in capsys.readouterr().out


@pytest.mark.parametrize("build", [tiny, bert])
def test_recomputed_activations_have_the_same_dropout(build):
    recomputing, plain = build(), build()
    enable = next(n for n in ENABLE if hasattr(recomputing, n))
    getattr(recomputing, enable)({"use_reentrant": False})
    for found, expected in zip(gradients(recomputing, 3, 8), gradients(plain, 3, 8), strict=True):
        assert torch.equal(found, expected)


def test_the_encoder_of_a_base_model_is_compiled_without_its_head():
    model = bert()
    compile_encoder(model, backend="eager")
    assert model.bert._compiled_call_impl is not None
    assert model._compiled_call_impl is None


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UltraError, match=r"needs a C\+\+ compiler"):
        check_compiler(torch.device("cpu"))
    monkeypatch.setattr(compilation, "find_spec", lambda name: None)
    with pytest.raises(UltraError, match="needs the package triton"):
        check_compiler(torch.device("cuda"))
