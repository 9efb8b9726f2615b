from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForQuestionAnswering

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForMaskedLM, UltraForQuestionAnswering


def test_the_loss_is_the_mean_of_that_of_begin_and_end():
    model, given = make(UltraForQuestionAnswering), batch()
    del given["labels"]
    first, last = torch.tensor([1, 2, 99]), torch.tensor([3, 2, 99])
    output = model(**given, start_positions=first, end_positions=last)
    expected = [
        F.cross_entropy(logits[:2], places[:2])
        for logits, places in ((output.start_logits, first), (output.end_logits, last))
    ]
    assert output.start_logits.shape == (3, 8)
    torch.testing.assert_close(output.loss, sum(expected) / 2)


def test_padding_does_not_change_the_logits():
    model, ids = make(UltraForQuestionAnswering), batch()["input_ids"][:1]
    alone = model(ids[:, 2:6])
    padded = model(ids, torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]]))
    torch.testing.assert_close(padded.start_logits[:, 2:6], alone.start_logits)
    torch.testing.assert_close(padded.end_logits[:, 2:6], alone.end_logits)


def test_only_the_head_of_a_masked_language_model_is_new(tmp_path):
    make(UltraForMaskedLM).save_pretrained(tmp_path)
    model, report = AutoModelForQuestionAnswering.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model) is UltraForQuestionAnswering
    assert set(report["missing_keys"]) == {"qa_outputs.out_proj.weight", "qa_outputs.out_proj.bias"}


def test_an_answer_is_found_in_a_text(words):
    """Trained to mark the word that equals the question."""
    torch.manual_seed(0)
    model = make(UltraForQuestionAnswering).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    texts = torch.stack([torch.randperm(8)[:6] + 5 for _ in range(32)])
    places = torch.randint(6, (32,))
    questions = texts.gather(1, places[:, None])
    separator = torch.full((32, 1), words.sep_token_id)
    ids = torch.cat([questions, separator, texts], 1)
    for _ in range(80):
        loss = model(ids, start_positions=places + 2, end_positions=places + 2).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    output = model.eval()(ids)
    right = (output.start_logits.argmax(1) == places + 2).float().mean()
    assert right == pytest.approx(1.0, abs=0.1)
    answer = words.decode(ids[0, output.start_logits[0].argmax() : output.end_logits[0].argmax() + 1])
    assert answer == words.decode(questions[0])
