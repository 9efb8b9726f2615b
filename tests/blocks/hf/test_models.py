import json
import os
import subprocess
import sys

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM

from support.hf_models import VARIANTS, batch, config, make
from ultra_blocks.hf import UltraForMaskedLM, UltraModel
from ultra_core import blocks
from ultra_core.errors import PluginError


class TestSavingAndLoading:
    @pytest.mark.parametrize("fields", VARIANTS)
    def test_logits_are_equal(self, fields, tmp_path):
        model = make(**fields)
        model.save_pretrained(tmp_path)
        loaded = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
        inputs = {k: v for k, v in batch().items() if k != "labels"}
        assert type(loaded) is UltraForMaskedLM
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
        tied = loaded.head.decoder.weight is loaded.get_input_embeddings().weight
        assert tied == model.config.tie_embeddings
        base = AutoModel.from_pretrained(tmp_path).eval()
        assert type(base) is UltraModel
        assert torch.equal(base(**inputs).last_hidden_state, model.model(**inputs).last_hidden_state)

    def test_a_checkpoint_without_a_head_gets_a_new_one_and_keeps_the_rest(self, tmp_path):
        base = make(UltraModel)
        base.save_pretrained(tmp_path)
        loaded, report = UltraForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
        for name, value in base.state_dict().items():
            assert torch.equal(loaded.model.state_dict()[name], value)
        assert "head.dense.weight" in report["missing_keys"]
        assert loaded.head.dense.weight.std().item() == pytest.approx(0.2, rel=0.2)
        assert torch.equal(loaded.head.norm.weight, torch.ones(16))
        assert loaded.head.decoder.weight is loaded.get_input_embeddings().weight

    def test_half_precision(self, tmp_path):
        make().to(torch.bfloat16).save_pretrained(tmp_path)
        loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
        assert loaded.dtype is torch.bfloat16
        assert torch.isfinite(loaded(**batch()).loss)

    def test_building_draws_what_the_encoder_draws(self):
        from ultra_blocks.encoder import Encoder

        model = make()
        torch.manual_seed(0)
        encoder = Encoder(config())
        assert all(
            torch.equal(p, model.model.encoder.state_dict()[name]) for name, p in encoder.state_dict().items()
        )

    def test_remote_code_alone(self, tmp_path):
        """In a process that never imported ultra_blocks; what it saves again is whole."""
        model, inputs = make(**VARIANTS[1]), batch()
        model.save_pretrained(tmp_path / "model")
        assert (tmp_path / "model" / "modeling_ultra.py").is_file()
        code = f"""
import sys, torch, transformers
assert "ultra_blocks" not in sys.modules
path = {str(tmp_path)!r}
model = transformers.AutoModelForMaskedLM.from_pretrained(path + "/model", trust_remote_code=True)
model.save_pretrained(path + "/again")
torch.save(model.eval()(torch.tensor({inputs["input_ids"].tolist()})).logits, path + "/logits.pt")
for head in ("MultipleChoice", "QuestionAnswering", "SequenceClassification", "TokenClassification"):
    auto = getattr(transformers, "AutoModelFor" + head)
    model = auto.from_pretrained(path + "/model", trust_remote_code=True)
    assert type(model).__name__ == "UltraFor" + head
"""
        environment = {**os.environ, "HF_HOME": str(tmp_path / "cache")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        assert torch.equal(torch.load(tmp_path / "logits.pt"), model(inputs["input_ids"]).logits)
        assert sorted(p.name for p in (tmp_path / "again").iterdir()) == [
            "config.json", "model.safetensors", "modeling_ultra.py",
        ]  # fmt: skip
        again = json.loads((tmp_path / "again" / "config.json").read_text())
        assert again["auto_map"]["AutoModel"] == "modeling_ultra.UltraModel"

    def test_sentence_transformer(self, tmp_path, words):
        from sentence_transformers import SentenceTransformer

        model = make()
        model.save_pretrained(tmp_path)
        words.save_pretrained(tmp_path)
        encoder = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
        texts = ["a b c", "d"]
        vectors = torch.from_numpy(encoder.encode(texts))
        inputs = words(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model.model(**inputs).last_hidden_state
        mean = hidden.sum(1) / inputs["attention_mask"].sum(1, keepdim=True)
        torch.testing.assert_close(vectors, mean, rtol=0, atol=1e-5)


class TestForward:
    def test_pooler_output_is_the_first_real_token(self):
        model, inputs = make(UltraModel), batch()
        output = model(inputs["input_ids"], inputs["attention_mask"])
        assert torch.equal(output.pooler_output, output.last_hidden_state[[0, 1, 2], [0, 0, 2]])
        dense = model(inputs["input_ids"])
        assert torch.equal(dense.pooler_output, dense.last_hidden_state[:, 0])

    def test_padding_and_packing(self):
        model, ids = make(UltraModel), batch()["input_ids"][:1]
        alone = model(ids[:, 2:6]).last_hidden_state
        mask = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]])
        padded = model(ids, mask).last_hidden_state
        torch.testing.assert_close(padded[:, 2:6], alone, rtol=0, atol=1e-5)
        packed = model(ids, document_ids=torch.tensor([[0, 0, 1, 1, 1, 1, 2, 2]])).last_hidden_state
        torch.testing.assert_close(packed[:, 2:6], alone, rtol=0, atol=1e-5)
        assert torch.equal(model(ids, torch.ones_like(ids)).last_hidden_state, model(ids).last_hidden_state)

    @pytest.mark.parametrize(
        "fields", [*VARIANTS, {"layer_pattern": ["mamba", "titan_attn"], "use_moe": True}]
    )
    def test_without_padding_outputs_and_gradients_are_the_same(self, fields):
        model = make(**fields).double().train()
        mask = torch.zeros(5, 9, dtype=torch.long)
        for row, (start, end) in enumerate([(0, 9), (0, 3), (5, 9), (0, 0), (2, 4)]):
            mask[row, start:end] = 1
        inputs = {"input_ids": torch.randint(40, (5, 9)), "attention_mask": mask}

        def outputs_and_gradients(**given):
            model.zero_grad()
            output = model.model(**given)
            losses = sum((output.losses or {}).values())
            (output.last_hidden_state.square().sum() + output.pooler_output.sum() + losses).backward()
            gradients = [p.grad.clone() for p in model.model.parameters() if p.grad is not None]
            return [output.last_hidden_state, output.pooler_output, *gradients]

        expected = outputs_and_gradients(**inputs)
        model.model.unpad_inputs = True
        rows = []
        hook = model.model.encoder.register_forward_pre_hook(lambda m, args: rows.append(args[1].mask.shape))
        for found, wanted in zip(outputs_and_gradients(**inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        assert rows == [(2, 9)], "five rows became two"
        hook.remove()
        embeds = model.get_input_embeddings()(inputs["input_ids"])
        given = model.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(given, expected[0], rtol=1e-9, atol=1e-9)
        assert model.model(**inputs, output_hidden_states=True).hidden_states[-1].shape == (5, 9, 16)

    def test_position_ids(self):
        model, ids = make(UltraModel, positions="learned"), batch()["input_ids"]
        counted = model(ids).last_hidden_state
        assert torch.equal(model(ids, position_ids=torch.arange(8)[None]).last_hidden_state, counted)
        assert not torch.equal(model(ids, position_ids=torch.arange(8)[None] + 3).last_hidden_state, counted)

    def test_hidden_states_tuples_and_what_is_not_supported(self):
        model, inputs = make(num_loops=2), batch()
        output = model(**inputs, output_hidden_states=True)
        assert len(output.hidden_states) == 5
        loss, logits = model(**inputs, return_dict=False)
        assert loss.ndim == 0
        assert logits.shape == (3, 8, 40)
        with pytest.raises(ValueError, match="both are None"):
            model()
        with pytest.raises(ValueError, match="for packed documents give document_ids"):
            model(inputs["input_ids"], torch.ones(3, 1, 8, 8))
        with pytest.raises(TypeError, match=r"'atention_mask'\. Did you mean 'attention_mask'"):
            model(inputs["input_ids"], atention_mask=inputs["attention_mask"])

    def test_hidden_states_retain_their_gradients(self):
        model, inputs = make(UltraModel), batch()
        output = model(inputs["input_ids"], inputs["attention_mask"], output_hidden_states=True)
        for state in output.hidden_states:
            state.retain_grad()
        output.last_hidden_state.square().sum().backward()
        padding = inputs["attention_mask"] == 0
        for state in output.hidden_states:
            assert state.grad is not None
            assert state.grad.any()
            assert not state.grad[padding].any()


@pytest.mark.parametrize("fields", VARIANTS)
@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_without_rows_or_tokens(fields, shape, masked):
    model = make(**fields).train()
    ids = torch.zeros(shape, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids) if masked else None}
    assert model(**inputs).logits.shape == (*shape, 40)
    pooled = make(UltraModel, **fields)(**inputs).pooler_output
    assert torch.equal(pooled, torch.zeros(shape[0], 16))
    loss = model(**inputs, labels=ids).loss
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


class TestTransformersMachinery:
    @pytest.mark.parametrize("fields", VARIANTS[:3])
    @pytest.mark.parametrize("size", [45, 30])
    def test_resizing_the_vocabulary(self, fields, size):
        model, ids = make(**fields), batch()["input_ids"] % 30
        before = model(ids).logits
        model.resize_token_embeddings(size, mean_resizing=False)
        after = model(ids).logits
        shared = min(40, size)
        assert after.shape[-1] == model.config.vocab_size == size
        assert torch.equal(after[..., :shared], before[..., :shared])
        assert (
            model.head.decoder.weight is model.get_input_embeddings().weight
        ) == model.config.tie_embeddings

    def test_gradient_checkpointing(self):
        model, inputs = make(dropout=0.1).train(), batch()
        gradients = []
        for recompute in (False, True):
            if recompute:
                model.activation_checkpointing_enable()
            torch.manual_seed(3)
            gradients.append(torch.autograd.grad(model(**inputs).loss, list(model.parameters())))
        assert model.is_activation_checkpointing
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_gradient_checkpointing_of_a_balance_loss(self, reentrant):
        model, inputs = make(use_moe=True, ffn={"moe": {"balance_weight": 5.0}}).train(), batch()
        expected = torch.autograd.grad(model(**inputs).loss, list(model.parameters()))
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model(**inputs).loss.backward()
        for (name, p), wanted in zip(model.named_parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, wanted, msg=lambda text, name=name: f"{name}: {text}")

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_gradient_checkpointing_of_some_layers(self, reentrant):
        model, inputs = make(num_layers=3).train(), batch()
        expected = torch.autograd.grad(model(**inputs).loss, list(model.parameters()))
        options = {"use_reentrant": reentrant}
        model.activation_checkpointing_enable(options, every_n_layers=2)
        calls = [0, 0, 0]
        for number, layer in enumerate(model.model.encoder.layers):
            layer.ffn.register_forward_pre_hook(lambda *_, n=number: calls.__setitem__(n, calls[n] + 1))
        model(**inputs).loss.backward()
        assert calls == [2, 1, 2]
        for p, wanted in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, wanted)
        model.activation_checkpointing_disable()
        assert not model.is_activation_checkpointing

    def test_trainer_counts_every_label_and_divides_by_them(self, tmp_path):
        rows = [{key: value[i] for key, value in batch().items()} for i in range(3)]
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=3,
            max_steps=1, learning_rate=0.0, report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=1,
        )  # fmt: skip
        model = make()
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
        assert trainer.model_accepts_loss_kwargs
        assert trainer._loss_shifts_labels is False
        result = trainer.train()
        assert result.training_loss == pytest.approx(model(**batch()).loss.item(), rel=1e-4)

    def test_parameters_are_counted_once_and_all_described(self):
        from ultra_optim.roles.groups import describe

        model = make(**VARIANTS[1])
        infos = describe(model)
        assert set(infos) == {name for name, _ in model.named_parameters()}
        roles = {name.removeprefix("model.encoder."): info.role for name, info in infos.items()}
        assert roles["embeddings.tokens.weight"] == roles["embeddings.projection.weight"] == "embeddings"
        assert roles["layers.0.mixer_norm.alpha"] == roles["head.norm.weight"] == "norms"
        assert roles["layers.0.ffn.up.weight"] == "other"
        assert "head.decoder.weight" not in roles
        mixers = {role for name, role in roles.items() if ".mixer." in name}
        assert mixers == {"attention"}


def test_missing_transformers_says_what_to_install():
    code = """
import sys
sys.modules["transformers"] = None
try:
    import ultra_blocks.hf
except ImportError as error:
    assert 'pip install "ultra-blocks[transformers]"' in str(error), error
else:
    raise AssertionError("imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plugin_added_at_run_time_is_recorded_as_such(monkeypatch, tmp_path):
    from ultra_blocks.mixers.standard_attn import StandardAttention

    monkeypatch.setattr(blocks, "_added", [])
    blocks.add("mine", StandardAttention)
    make(layer_pattern=["mine"]).save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).config.layer_pattern == ["mine"]
    monkeypatch.setattr(blocks, "_added", [])
    with pytest.raises(PluginError, match="add it again before loading"):
        AutoModel.from_pretrained(tmp_path)


class Tabled(nn.Module):
    """Has a table that is not saved, as rotations of other libraries."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.empty(hidden_size), persistent=False)
        self.reset_buffers()

    def reset_buffers(self) -> None:
        torch.arange(float(len(self.table)), out=self.table)

    def forward(self, x, layout=None):
        return x * self.table


def test_buffers_that_are_not_saved_are_computed_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "_added", [])
    blocks.add("tabled", Tabled)
    saved = make(layer_pattern=["tabled"])
    saved.save_pretrained(tmp_path)
    table = AutoModel.from_pretrained(tmp_path).encoder.layers[0].mixer.table
    assert torch.equal(table, torch.arange(float(len(table))))
