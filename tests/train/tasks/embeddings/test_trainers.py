"""The trainer against that of sentence-transformers, and the weights of losses."""

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

from support.tiny_sbert import commands
from ultra_train.trainer.checkpoints.folders import CheckpointError

TEXTS = commands()
COLUMNS = {
    "score": {"sentence1": TEXTS[:32], "sentence2": TEXTS[40:72], "score": [i % 5 / 4 for i in range(32)]},
    "none": {"anchor": TEXTS[:32], "positive": TEXTS[40:72]},
    "label": {"sentence1": TEXTS[:32], "sentence2": TEXTS[40:72], "label": [i % 3 for i in range(32)]},
}
LOSSES = {
    "cosent": ("score", losses.CoSENTLoss),
    "multiple_negatives": ("none", losses.MultipleNegativesRankingLoss),
    "cached": ("none", lambda model: losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=2)),
    "softmax": ("label", lambda model: losses.SoftmaxLoss(model, 16, 3)),
    "matryoshka": ("score", lambda model: losses.MatryoshkaLoss(model, losses.CoSENTLoss(model), [16, 4])),
}


@pytest.mark.parametrize("name", LOSSES)
def test_it_trains_like_the_trainer_of_the_library(name, encoder, make_dense_trainer, tmp_path):
    """The same batches, AdamW and clipping; the library's optimizer is told of the weights of the loss."""
    columns, build = LOSSES[name]
    rows = Dataset.from_dict(COLUMNS[columns])
    ours, theirs = encoder(), encoder()
    loss, other = _losses(build, ours, theirs)
    trainer = make_dense_trainer(ours, {"only": rows}, loss)
    plan = trainer.settings.stream.loader.plan
    trainer.train()

    parameters = list(dict.fromkeys([*theirs.parameters(), *other.parameters()]))
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    order = [plan.batch(0, index).rows.tolist() for index in range(plan.batches(0))]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        max_steps=4,
        gradient_accumulation_steps=2,
        max_grad_norm=1.0,
        batch_sampler=lambda dataset, **options: order,
        use_cpu=True,
        disable_tqdm=True,
        report_to=[],
        save_strategy="no",
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    reference = SentenceTransformerTrainer(
        model=theirs, args=arguments, train_dataset=rows, loss=other, optimizers=(optimizer, schedule)
    )
    if name == "softmax":  # its clipping leaves the weights of the loss out
        reference._clip_grad_norm = lambda model: torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    reference.train()
    for (key, expected), (_, found) in zip(
        theirs.state_dict().items(), ours.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=key)
    assert not torch.equal(next(ours.parameters()), next(encoder().parameters()))


def _losses(build, *models):
    made = []
    for model in models:
        torch.manual_seed(0)
        made.append(build(model).double())
    return made


def test_weights_of_a_loss_are_trained_saved_and_resumed(encoder, make_dense_trainer):
    rows = Dataset.from_dict(COLUMNS["label"])
    model = encoder()
    (loss,) = _losses(LOSSES["softmax"][1], model)
    before = loss.classifier.weight.detach().clone()
    trainer = make_dense_trainer(model, {"only": rows}, loss)
    trainer.train()
    assert not torch.equal(loss.classifier.weight, before)

    other = encoder()
    torch.manual_seed(7)
    fresh = losses.SoftmaxLoss(other, 16, 3).double()
    again = make_dense_trainer(other, {"only": rows}, fresh)
    again.train(resume_from_checkpoint=str(again.checkpoint_root / "checkpoint-2"))
    assert torch.equal(fresh.classifier.weight, loss.classifier.weight)
    assert torch.equal(next(other.parameters()), next(model.parameters()))

    plain = make_dense_trainer(encoder(), {"only": rows}, losses.ContrastiveLoss(other))
    with pytest.raises(CheckpointError, match=r"unexpected .*loss\.classifier\.bias"):
        plain.train(resume_from_checkpoint=str(again.checkpoint_root / "checkpoint-2"))


def test_each_data_set_has_its_loss(encoder, make_dense_trainer):
    rows = {"scores": Dataset.from_dict(COLUMNS["score"]), "pairs": Dataset.from_dict(COLUMNS["none"])}
    model, given = encoder(), {}

    class Noting(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, features, labels):
            given.setdefault(self.name, []).append(labels is not None)
            return sum(model(one)["sentence_embedding"].mean() for one in features)

    trainer = make_dense_trainer(model, rows, {name: Noting(name) for name in rows})
    trainer.train()
    assert set(given["scores"]) == {True}
    assert set(given["pairs"]) == {False}
    assert len(given["scores"]) + len(given["pairs"]) == 8


class InParts(torch.nn.Module):
    """A loss in two parts, as SPLADE's is."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features, labels):
        first, second = (self.model(one)["sentence_embedding"] for one in features)
        return {"distance": (first - second).square().mean(), "size": 0.1 * first.abs().mean()}


def test_the_parts_of_a_loss_are_logged_alike_after_a_resumption(encoder, make_dense_trainer):
    """The line of update 3 is about two updates, between which the run was killed."""
    rows, logged = Dataset.from_dict(COLUMNS["none"]), []
    for checkpoint in (None, "checkpoint-2"):
        model = encoder()
        trainer = make_dense_trainer(model, {"only": rows}, InParts(model), logging_steps=3)
        trainer.train(checkpoint and str(trainer.checkpoint_root / checkpoint))
        logged.append([line for line in trainer.state.log_history if "loss" in line][-1])
    whole, resumed = logged
    assert whole["step"] == 3
    assert whole["size"] > 0
    for name in ("loss", "distance", "size"):
        assert whole[name] == resumed[name]
