from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM
from transformers.modeling_outputs import MaskedLMOutput

from ultra_train.tasks.mlm.head import MaskedHead

CONFIG = BertConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)


class Counting(nn.Linear):
    """Remembers how many positions it has decoded."""

    def forward(self, hidden):
        self.positions = hidden.shape[:-1].numel()
        return super().forward(hidden)


class Summed(BertForMaskedLM):
    """A model that changes the states between the encoder and the head."""

    def forward(self, input_ids, **kwargs):
        hidden = self.bert(input_ids).last_hidden_state
        return MaskedLMOutput(logits=self.cls(hidden + hidden.roll(1, dims=1)))


class Mixing(nn.Module):
    """A head that looks at the token before."""

    def __init__(self, head):
        super().__init__()
        self.predictions = head.predictions

    def forward(self, hidden):
        return self.predictions(hidden + hidden.roll(1, dims=1))


class Shaped(Mixing):
    """A head that needs rows of five or nine tokens."""

    def forward(self, hidden):
        width = 5 if hidden.shape[1] == 5 else 9
        return self.predictions(hidden.view(-1, width, 16)).view(*hidden.shape[:2], -1)


class Gated(Mixing):
    """A head whose mixing begins at zero, so that only its gradient shows it."""

    def __init__(self, head):
        super().__init__(head)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, hidden):
        return self.predictions(hidden + self.gate * hidden.roll(1, dims=1))


class GatedBetween(BertForMaskedLM):
    """The same between the encoder and the head."""

    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, input_ids, **kwargs):
        hidden = self.bert(input_ids).last_hidden_state
        return MaskedLMOutput(logits=self.cls(hidden + self.gate * hidden.roll(1, dims=1)))


class Padded(BertForMaskedLM):
    """A model that looks at the padding once more before its head."""

    def forward(self, input_ids, attention_mask=None, **kwargs):
        hidden = self.bert(input_ids, attention_mask).last_hidden_state
        if attention_mask is not None:
            hidden = hidden * attention_mask[..., None]
        return {"logits": self.cls(hidden)}


class Bare(BertForMaskedLM):
    """A model whose encoder cannot be found by its name, but whose head can."""

    base_model_prefix = "nowhere"


class Decoded(BertForMaskedLM):
    """A model that gives a plain tuple."""

    def forward(self, input_ids, **kwargs):
        return (super().forward(input_ids).logits,)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 40, (3, 9), generator=generator)
    labels = torch.full_like(ids, -100)
    labels[0, 2], labels[1, 5], labels[1, 6] = 7, 8, 9
    return {"input_ids": ids, "labels": labels}


def decoding(model):
    """Let a model count the positions that it decodes."""
    decoder = Counting(16, 40)
    decoder.weight = model.cls.predictions.decoder.weight
    decoder.bias = model.cls.predictions.decoder.bias
    model.cls.predictions.decoder = decoder
    return decoder


@pytest.mark.parametrize("cls", [BertForMaskedLM, Bare, Decoded, Summed, GatedBetween])
def test_only_masked_positions_are_decoded(cls, inputs):
    torch.manual_seed(0)
    model = cls(CONFIG).eval()
    decoder = decoding(model)
    head = MaskedHead(model)
    assert head.reason is None
    logits, labels = head.logits(model, inputs)
    assert decoder.positions == 3
    assert labels.tolist() == [7, 8, 9]
    full = model(input_ids=inputs["input_ids"])
    full = full[0] if isinstance(full, tuple) else full.logits
    assert decoder.positions == 27  # other calls of the model are what they were
    torch.testing.assert_close(logits, full[inputs["labels"] != -100])


@pytest.mark.parametrize("mixing", [Mixing, Shaped, Gated])
def test_a_head_that_does_not_take_states_one_by_one_runs_everywhere(mixing, inputs):
    torch.manual_seed(0)
    model = BertForMaskedLM(CONFIG).eval()
    decoder = decoding(model)
    model.cls = mixing(model.cls)
    head = MaskedHead(model)
    assert head.reason is not None
    logits, labels = head.logits(model, inputs)
    assert decoder.positions == 27
    assert labels.tolist() == [7, 8, 9]
    torch.testing.assert_close(logits, model(input_ids=inputs["input_ids"]).logits[inputs["labels"] != -100])


def test_padding_that_is_used_after_the_encoder(inputs):
    torch.manual_seed(0)
    model = Padded(CONFIG).eval()
    decoder = decoding(model)
    head = MaskedHead(model)
    assert head.reason is None
    mask = torch.ones_like(inputs["input_ids"])
    mask[1, 7:] = 0
    logits, _ = head.logits(model, {**inputs, "attention_mask": mask})
    assert decoder.positions == 3
    full = model(input_ids=inputs["input_ids"], attention_mask=mask)["logits"]
    torch.testing.assert_close(logits, full[inputs["labels"] != -100])


def test_a_gate_that_is_zero_has_its_gradient(inputs):
    torch.manual_seed(0)
    model = GatedBetween(CONFIG).eval()
    MaskedHead(model).loss(model, inputs, None).backward()
    found = model.gate.grad.clone()
    model.zero_grad()
    logits = model(input_ids=inputs["input_ids"]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten()).backward()
    torch.testing.assert_close(found, model.gate.grad)


def test_logits_that_are_not_finite():
    model = BertForMaskedLM(CONFIG)
    with torch.no_grad():
        model.cls.predictions.bias.fill_(float("inf"))
    assert MaskedHead(model).reason == "its logits are not finite"


def test_trying_it_out_leaves_no_trace():
    torch.manual_seed(0)
    model = BertForMaskedLM(CONFIG).train()
    model.bert.eval()
    state = torch.get_rng_state()
    MaskedHead(model)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert not model.bert.training
    assert model.cls.training


def test_a_batch_without_a_masked_token_has_a_loss_of_zero_with_a_gradient(inputs):
    model = BertForMaskedLM(CONFIG)
    loss = MaskedHead(model).loss(model, {**inputs, "labels": torch.full((3, 9), -100)}, None)
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
