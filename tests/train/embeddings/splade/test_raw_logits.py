from __future__ import annotations

import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import BertForMaskedLM

from support.splade import TEXTS, write_family
from ultra_train.embeddings.heads import HeadReport, head_report
from ultra_train.embeddings.splade.chunked import pool_in_chunks
from ultra_train.embeddings.splade.raw_logits import raw_logits, restore_raw_logits, use_raw_logits


class Bounded(BertForMaskedLM):
    """A head that ends in a scaled sigmoid, as that of NorBERT4."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        logits = 30 * torch.sigmoid(output[0] / 7.5)
        if isinstance(output, tuple):
            return (logits, *output[1:])
        output["logits"] = logits
        return output


@pytest.fixture
def bounded(tmp_path):
    """A SPLADE encoder whose head is bounded, and the same with the head as it is."""
    folder = write_family(tmp_path / "base", "bert")

    def make(bound):
        transformer = Transformer(str(folder), transformer_task="fill-mask")
        if bound:
            transformer.model = Bounded.from_pretrained(folder)
        return SparseEncoder(modules=[transformer, SpladePooling()], device="cpu").eval()

    return make(True), make(False)


def embeddings(encoder):
    return encoder(encoder.preprocess(TEXTS))["sentence_embedding"]


def test_the_report_names_a_bounded_head_and_what_to_do(bounded):
    squashed, plain = (head_report(encoder, TEXTS) for encoder in bounded)
    assert squashed.positive == 1
    assert squashed.squashed
    assert not squashed.usable
    assert squashed.active == squashed.vocabulary == 60
    assert "patch_sigmoid_for_sparsity: true" in list(squashed.lines())[1]
    assert plain.usable
    assert plain.positive == plain.raw_positive == squashed.raw_positive
    assert 0 < plain.active < 60
    assert len(list(plain.lines())) == 1


def test_the_report_of_pooling_in_chunks_is_the_same(bounded):
    _, plain = bounded
    before = head_report(plain, TEXTS)
    pool_in_chunks(plain)
    assert head_report(plain, TEXTS) == before


@pytest.mark.parametrize(
    ("positive", "raw", "advice"),
    [
        (0.0, 0.0, "no logit is above 0"),
        (1.0, 1.0, "no logit is below 0"),
        (1.0, None, "no logit is below 0"),
    ],
)
def test_heads_from_which_nothing_can_be_learned(positive, raw, advice):
    assert any(advice in line for line in HeadReport(positive, raw, 3.0, 60).lines())


@pytest.mark.parametrize("in_chunks", [False, True])
def test_raw_logits_are_those_of_the_output_layer(bounded, in_chunks):
    squashed, plain = bounded
    use_raw_logits(squashed)
    raw_logits(squashed[0].model)  # twice is as good as once
    if in_chunks:
        assert pool_in_chunks(squashed) == []
    torch.testing.assert_close(embeddings(squashed), embeddings(plain))
    assert head_report(squashed, TEXTS).usable
    inputs = {"input_ids": torch.tensor([[5, 6]])}
    assert torch.equal(squashed[0].model(**inputs, return_dict=False)[0], plain[0].model(**inputs).logits), (
        "tuples too"
    )


def test_a_saved_encoder_remembers_its_raw_logits(bounded, tmp_path):
    squashed, _ = bounded
    use_raw_logits(squashed)
    expected = embeddings(squashed)
    squashed.save_pretrained(str(tmp_path / "saved"))
    again = SparseEncoder(str(tmp_path / "saved"), device="cpu").eval()
    again[0].model = Bounded.from_pretrained(tmp_path / "saved").eval()
    assert not torch.equal(embeddings(again), expected)
    restore_raw_logits(again)
    torch.testing.assert_close(embeddings(again), expected)
