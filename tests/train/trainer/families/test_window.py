"""The loss of an update is the mean over the masked tokens of its whole accumulation window."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

WINDOWS = (1, 2, 4, 8)
ROWS = (1, 3, 2, 1, 4, 1, 2, 2)
RATES = (0.05, 0.6, 0.2, 0.4, 0.1, 0.3, 0.15, 0.5)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_windows_of_uneven_micro_batches_are_one_big_batch(family, build, texts, make_mlm_trainer):
    """Against the mean cross entropy of the logits that the model gives at all positions of all rows."""
    model = build(family).double().eval()
    padded = family != "longformer"  # whose own gradients are NaN in fp64 when a row has padding
    pieces = [
        texts(model, rows=rows, length=20, seed=seed, masked=rate, padded=padded)
        for seed, (rows, rate) in enumerate(zip(ROWS, RATES, strict=True))
    ]
    batch = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    expected.backward()
    wanted = gradients(model)
    assert wanted
    trainer = make_mlm_trainer(model, pieces)
    assert trainer.head.reason is None
    model.train = lambda mode=True: model  # no dropout: the sums are compared, not the draws
    for window in WINDOWS:
        joined = [
            {name: torch.cat([piece[name] for piece in part]) for name in pieces[0]}
            for part in (pieces[begin : begin + 8 // window] for begin in range(0, 8, 8 // window))
        ]
        trainer.current_gradient_accumulation_steps = window
        trainer._tr_loss = torch.zeros(())
        _, items = trainer.get_batch_samples(iter(joined), window, torch.device("cpu"))
        model.zero_grad()
        loss = sum(trainer.training_step(model, dict(piece), items) for piece in joined)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-10, atol=1e-10)
        found = gradients(model)
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_log_and_the_norm_are_those_of_the_token_mean(accumulation, build, texts, make_mlm_trainer):
    model = build("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    pieces = [texts(model, rows=2, length=12, seed=seed, masked=0.1 + 0.1 * seed) for seed in range(4)]
    batch = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    output = model(**batch)
    output.loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    model.zero_grad()
    given = pieces if accumulation == 4 else [batch]
    trainer = make_mlm_trainer(model, given, max_steps=1, accumulation=accumulation, max_norm=1e9)
    trainer.train()
    (line,) = (line for line in trainer.state.log_history if "loss" in line)
    assert line["loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
