from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultra_train.hf.probe import accepts_argument, logits_of, preserve_state, probe_inputs


class Counted(nn.Module):
    """A model with dropout and a buffer that counts its passes."""

    def __init__(self, vocab_size=30, pad_token_id=0):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocab_size, pad_token_id=pad_token_id)
        self.embedding = nn.Embedding(vocab_size, 4)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, input_ids, attention_mask=None):
        self.passes += 1
        return self.dropout(self.embedding(input_ids))


def test_a_trial_run_leaves_no_trace():
    model = Counted().train()
    model.dropout.eval()
    with preserve_state(model):
        output = model.train()(torch.tensor([[1, 2]]))
        assert not output.requires_grad
        assert model.passes == 1
    assert model.passes == 0
    assert (model.training, model.dropout.training) == (True, False)


def test_random_numbers_continue_after_a_trial_run():
    model = Counted().train()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with preserve_state(model):
        model(torch.tensor([[1, 2]]))
    assert torch.equal(torch.rand(3), expected)


def test_the_trace_is_removed_after_an_error_too():
    model = Counted().train()
    with pytest.raises(IndexError), preserve_state(model):
        model.eval()(torch.tensor([[999]]))
    assert model.training
    assert model.passes == 0


@pytest.mark.parametrize("pad", [0, 29, 27, None])
def test_tokens_are_ordinary_ones(pad):
    inputs = probe_inputs(Counted(pad_token_id=pad), 3, 5, padding=2)
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == (3, 5)
    assert inputs["attention_mask"].tolist() == [[1] * 5, [1] * 5, [1, 1, 1, 0, 0]]
    assert inputs["input_ids"][-1, -2:].tolist() == [pad or 0] * 2
    ordinary = set(inputs["input_ids"][:2].flatten().tolist())
    assert len(ordinary) == 2
    assert ordinary <= {29, 27, 25} - {pad}


def test_a_model_without_a_mask_gets_none():
    class Plain(Counted):
        def forward(self, input_ids):
            return self.embedding(input_ids)

    assert probe_inputs(Plain(), 1, 2).keys() == {"input_ids"}
    assert not accepts_argument(Plain(), "attention_mask")
    assert accepts_argument(SimpleNamespace(forward=lambda **kwargs: None), "anything")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: logits,
        lambda logits: (logits, "more"),
        lambda logits: [logits],
        lambda logits: {"loss": 1.0, "logits": logits},
        lambda logits: SimpleNamespace(logits=logits),
    ],
)
def test_logits_are_found_in_every_output(wrap):
    logits = torch.ones(2, 3)
    assert logits_of(wrap(logits)) is logits


def test_an_output_without_logits_is_an_error():
    with pytest.raises(TypeError, match="its first output is a str, not the logits"):
        logits_of(("text", torch.ones(2)))
