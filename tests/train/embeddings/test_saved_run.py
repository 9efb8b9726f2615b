"""The model of a finished run in sentence-transformers: built, trained, adapted, saved, loaded again."""

from __future__ import annotations

import json
from multiprocessing.reduction import ForkingPickler
from pickle import loads

import pytest
import torch

from support.isolated import run_without

TEXTS = ["abre la puerta", "apaga la luz del salón", "sube la persiana"]


@pytest.fixture
def splade(finished_run):
    """A SPLADE encoder on the model of the run."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    transformer = Transformer(str(finished_run / "model"), transformer_task="fill-mask")
    return SparseEncoder(modules=[transformer, SpladePooling()], device="cpu")


@pytest.fixture
def dense(finished_run):
    """The run as an encoder that takes the mean of the token states."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(finished_run / "model"), trust_remote_code=True, device="cpu")


@pytest.fixture
def pairs():
    """Four anchors with a positive each."""
    from datasets import Dataset

    return Dataset.from_dict(
        {"anchor": [*TEXTS, "baja el volumen"], "positive": [*TEXTS[1:], "abre", "baja"]}
    )


def short(arguments, folder):
    return arguments(
        str(folder), max_steps=1, learning_rate=0.1, per_device_train_batch_size=4,
        report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip


def vectors(encoder):
    encoded = encoder.eval().encode(TEXTS, convert_to_tensor=True)
    return encoded.to_dense() if encoded.is_sparse else encoded


def test_a_splade_encoder_trains_saves_and_loads_as_a_plain_model(splade, pairs, tmp_path):
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.sparse_encoder.losses import (
        SparseMultipleNegativesRankingLoss,
        SpladeLoss,
    )

    before = vectors(splade)
    assert before.shape == (3, 304)
    loss = SpladeLoss(splade, SparseMultipleNegativesRankingLoss(splade), 1e-3, 1e-3)
    arguments = short(SparseEncoderTrainingArguments, tmp_path / "trainer")
    SparseEncoderTrainer(splade, arguments, train_dataset=pairs, loss=loss).train()
    trained = vectors(splade)
    assert not torch.equal(trained, before)
    splade.save_pretrained(str(tmp_path / "saved"))
    modules = json.loads((tmp_path / "saved" / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)

    def load():
        encoder = SparseEncoder(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
        assert torch.equal(vectors(encoder), trained)

    run_without(("ultra_train", "ultra_optim"), load)


def test_a_dense_encoder_trains(dense, pairs, tmp_path):
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    before = vectors(dense)
    arguments = short(SentenceTransformerTrainingArguments, tmp_path)
    loss = MultipleNegativesRankingLoss(dense)
    SentenceTransformerTrainer(dense, arguments, train_dataset=pairs, loss=loss).train()
    assert not torch.equal(vectors(dense), before)


def test_a_cross_encoder_trains_saves_and_loads(finished_run, pairs, tmp_path):
    from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    ranker = CrossEncoder(str(finished_run / "model"), trust_remote_code=True, device="cpu")
    rows = list(zip(pairs["anchor"], pairs["positive"], strict=True))
    before = ranker.predict(rows)
    assert before.shape == (4,)
    labelled = pairs.add_column("label", [1.0, 0.0, 1.0, 0.0])
    arguments = short(CrossEncoderTrainingArguments, tmp_path / "trainer")
    CrossEncoderTrainer(
        ranker, arguments, train_dataset=labelled, loss=BinaryCrossEntropyLoss(ranker)
    ).train()
    trained = ranker.predict(rows)
    assert (trained != before).all()
    ranker.save_pretrained(str(tmp_path / "saved"))
    again = CrossEncoder(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    assert (again.predict(rows) == trained).all()


@pytest.mark.parametrize("kind", ["splade", "dense"])
def test_adapters_are_trained_alone_and_saved_alone(kind, request, tmp_path):
    from peft import LoraConfig

    encoder = request.getfixturevalue(kind)
    plain = vectors(encoder)
    encoder.add_adapter(LoraConfig(target_modules=["qkv_proj"], r=2, init_lora_weights=False))
    adapted = vectors(encoder)
    assert not torch.equal(adapted, plain)
    assert all("lora" in name for name, parameter in encoder.named_parameters() if parameter.requires_grad)
    encoder.save_pretrained(str(tmp_path))
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "model.safetensors").exists()
    again = type(encoder)(str(tmp_path), trust_remote_code=True, device="cpu")
    torch.testing.assert_close(vectors(again), adapted)


@pytest.mark.parametrize("kind", ["splade", "dense"])
def test_a_process_that_encodes_gets_the_model_as_it_is(kind, request):
    encoder = request.getfixturevalue(kind)
    assert torch.equal(vectors(loads(ForkingPickler.dumps(encoder))), vectors(encoder))
