"""The losses of SPLADE, and the head that it starts from."""

import logging
from types import SimpleNamespace

import attrs
import pytest
import torch
from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import (
    SpladeRegularizerWeightSchedulerCallback,
)
from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss

from ultra_core.errors import UltraError
from ultra_train.config import load_preset
from ultra_train.embeddings.heads import HeadReport
from ultra_train.tasks.sparse import encoders
from ultra_train.tasks.sparse.encoders import build_encoder, check_head
from ultra_train.tasks.sparse.inner_losses import find_inner_loss
from ultra_train.tasks.sparse.sparsity import MeteredLoss, SparsityMeter
from ultra_train.tasks.sparse.splade_run import SpladeRun
from ultra_train.tasks.sparse.trainer import full_weights
from ultra_train.twins.twin import twin

TEXTS = (["abre la puerta", "apaga la luz"], ["la puerta del garaje", "la luz del salón"])


@pytest.fixture(scope="module")
def preset(tmp_path_factory, command_cache):
    """The twin of regular SPLADE."""
    folder = tmp_path_factory.mktemp("twins")
    return twin(load_preset("training_config_splade_regular"), folder, cache_dir=command_cache)


@pytest.fixture(scope="module")
def encoder(preset):
    """Its encoder, without dropout."""
    return build_encoder(preset, lambda line: None).eval()


def loss_of(encoder, preset, **keys):
    """Return the loss of a run with these keys of ``loss``, and its meter."""
    meter = SparsityMeter()
    inner = MeteredLoss(find_inner_loss(None).build(encoder), training=meter, evaluation=SparsityMeter())
    options = attrs.evolve(preset, loss=attrs.evolve(preset.loss, **keys))
    return SpladeRun.loss(SimpleNamespace(options=options), encoder, inner), meter


def value_and_gradient(loss, encoder):
    encoder.zero_grad()
    features = [encoder.preprocess(column) for column in TEXTS]
    total = sum(loss(features).values())
    total.backward()
    return float(total.detach()), [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


def test_a_batch_in_parts_has_the_same_loss_gradient_and_sparsity(encoder, preset):
    whole, meter = loss_of(encoder, preset)
    parts, other = loss_of(encoder, preset, type="cached_splade_loss", mini_batch_size=1)
    assert isinstance(parts, CachedSpladeLoss)
    value, gradient = value_and_gradient(whole, encoder)
    cached, of_parts = value_and_gradient(parts, encoder)
    assert cached == pytest.approx(value, rel=1e-5)
    for expected, found in zip(gradient, of_parts, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert other.read() == pytest.approx(meter.read())


def test_without_a_weight_queries_have_no_regulariser(encoder, preset, caplog):
    with caplog.at_level(logging.WARNING):
        loss, _ = loss_of(encoder, preset, query_regularizer_weight=0.0)
    assert loss.query_regularizer_weight is None
    assert not caplog.records
    assert loss_of(encoder, preset)[0].query_regularizer_weight == 3e-4


def test_evaluations_have_the_full_weights_of_the_regularisers(encoder, preset):
    loss, _ = loss_of(encoder, preset)
    schedule = SpladeRegularizerWeightSchedulerCallback(loss)
    schedule.on_train_begin(None, SimpleNamespace(max_steps=9), None)
    assert (loss.document_regularizer_weight, loss.query_regularizer_weight) == (0.0, 0.0)
    with full_weights(schedule):
        assert (loss.document_regularizer_weight, loss.query_regularizer_weight) == (3e-3, 3e-4)
    assert (loss.document_regularizer_weight, loss.query_regularizer_weight) == (0.0, 0.0)


HEADS = [
    (HeadReport(positive=0.4, raw_positive=0.4, active=300, vocabulary=400), None),
    (HeadReport(positive=1.0, raw_positive=0.4, active=400, vocabulary=400), "patch_sigmoid_for_sparsity"),
    (HeadReport(positive=0.0, raw_positive=0.0, active=0, vocabulary=400), "another base model"),
]


@pytest.mark.parametrize(("report", "refused"), HEADS, ids=["usable", "bounded", "empty"])
def test_a_head_that_cannot_become_sparse_is_refused(monkeypatch, report, refused):
    monkeypatch.setattr(encoders, "head_report", lambda encoder, texts: report)
    said = []
    if refused is None:
        check_head(None, ["a"], said.append)
        assert said[0].startswith("head: 40.00% of the logits")
        return
    with pytest.raises(UltraError, match=refused):
        check_head(None, ["a"], said.append)


def test_a_saved_encoder_is_continued_as_what_it_is(encoder, preset, tmp_path):
    encoder.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    model = attrs.evolve(
        preset.model, base_model=str(tmp_path / "saved"), load_pretrained_sparse_encoder=True
    )
    again = build_encoder(attrs.evolve(preset, model=model), print)
    assert again.max_seq_length == preset.training.max_seq_length
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in encoder.state_dict().items())
    other = attrs.evolve(preset, model=attrs.evolve(model, architecture="inference-free-splade"))
    with pytest.raises(UltraError, match=r"set model\.architecture to splade"):
        build_encoder(other, print)
