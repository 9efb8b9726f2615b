"""The losses of masked language modelling."""

import pytest
import torch
import transformers
from torch import nn

from support.hf_models import batch, make
from ultra_core import ffns


def test_masked_positions_only_or_all():
    model, inputs = make(), batch()
    sparse, full = model.train()(**inputs), model.eval()(**inputs)
    assert torch.equal(model(**inputs, masked_only=True).logits, sparse.logits)
    assert torch.equal(model.train()(**inputs, masked_only=False).logits, full.logits)
    model.config.sparse_prediction = False
    assert torch.equal(model(**inputs).logits, full.logits)
    chosen = inputs["labels"] != -100
    assert sparse.logits.shape == (int(chosen.sum()), 40)
    assert full.logits.shape == (3, 8, 40)
    torch.testing.assert_close(sparse.logits, full.logits[chosen], rtol=0, atol=1e-5)
    torch.testing.assert_close(sparse.loss, full.loss, rtol=0, atol=1e-5)
    expected = nn.functional.cross_entropy(full.logits[chosen], inputs["labels"][chosen])
    torch.testing.assert_close(sparse.loss, expected, rtol=0, atol=1e-5)


def test_predictions_of_the_trainer_are_those_of_every_position(tmp_path):
    model, inputs = make(), batch()
    rows = [{key: value[i] for key, value in inputs.items()} for i in range(3)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True
    )

    def accuracy(found):
        real = found.label_ids != -100
        return {"accuracy": (found.predictions.argmax(-1) == found.label_ids)[real].mean()}

    trainer = transformers.Trainer(model=model, args=arguments, compute_metrics=accuracy)
    result = trainer.predict(rows)
    expected = model(**inputs).logits
    torch.testing.assert_close(torch.from_numpy(result.predictions), expected.detach())
    chosen = inputs["labels"] != -100
    right = (expected.argmax(-1) == inputs["labels"])[chosen].float().mean()
    assert result.metrics["test_accuracy"] == pytest.approx(right.item())


def test_accumulation_gives_the_mean_over_tokens():
    model, inputs = make().double(), batch()
    count = (inputs["labels"] != -100).sum()
    whole = torch.autograd.grad(model(**inputs).loss, list(model.parameters()))
    loss = 0
    for row in range(3):
        part = {key: value[row : row + 1] for key, value in inputs.items()}
        loss = loss + model(**part, num_items_in_batch=count).loss
    parts = torch.autograd.grad(loss, list(model.parameters()))
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(whole, parts, strict=True))


def test_nothing_masked():
    model, inputs = make(), batch()
    inputs["labels"] = torch.full((3, 8), -100)
    for extra in ({}, {"num_items_in_batch": torch.tensor(5)}):
        loss = model(**inputs, **extra).loss
        loss.backward()
        assert loss.item() == 0
        assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in model.parameters())


class Balanced(nn.Module):
    """An FFN with an auxiliary loss, which is the mean square of its inputs over real tokens."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x, layout):
        return layout.zero_padding(x) * self.scale, {"balance": self.scale.square().sum()}


def test_auxiliary_losses_do_not_grow_with_accumulation(monkeypatch):
    monkeypatch.setattr(ffns, "_added", [])
    ffns.add("balanced", Balanced)
    model, inputs = make(ffn="balanced", use_moe=None).double(), batch()
    whole = model(**inputs).loss
    chosen = inputs["labels"] != -100
    plain = nn.functional.cross_entropy(model(**inputs).logits[chosen], inputs["labels"][chosen])
    torch.testing.assert_close(whole - plain, torch.tensor(32.0, dtype=torch.float64))
    count = (inputs["labels"] != -100).sum()
    parts = [
        model(**{key: value[i : i + 1] for key, value in inputs.items()}, num_items_in_batch=count).loss
        for i in range(3)
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=0, atol=1e-12)
    assert model.model(inputs["input_ids"]).losses["balance"].item() == 32.0
