"""Optimizers that ask more of a trainer than a step: curvature passes, two sets of weights, one distance."""

import pytest
import torch

from ultra_core.errors import UltraError
from ultra_optim import Sophia, build
from ultra_train.trainer_settings import bare


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def drawn_loss(trainer, model, inputs):
    scores = model(**inputs, num_items_in_batch=1)["logits"][inputs["labels"] != -100]
    drawn = torch.multinomial(scores.detach().softmax(-1), 1).squeeze(-1)
    trainer.passes = [*getattr(trainer, "passes", []), trainer.state.global_step]
    return torch.nn.functional.cross_entropy(scores, drawn), len(drawn)


def sophia(modules):
    return build("sophia", modules, lr=1e-3, update_period=3)


def test_sophia_gets_its_passes_and_resumes_exactly(make_trainer, tiny_trainer, weights, monkeypatch):
    monkeypatch.setattr(tiny_trainer, "sampled_loss", drawn_loss)
    whole = make_trainer("whole", build_optimizer=sophia)
    whole.train()
    assert isinstance(bare(whole.optimizer), Sophia)
    assert whole.passes == [0, 3, 6, 9]  # counted before the update is
    assert all(bool((s["curvature"] > 0).any()) for s in bare(whole.optimizer).state.values())
    cut = make_trainer("cut", build_optimizer=sophia)
    cut.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-4"))
    assert cut.passes == [6, 9]
    assert same(weights(whole), weights(cut))


def test_a_dropped_update_asks_for_no_pass(make_trainer, tiny_trainer, monkeypatch):
    monkeypatch.setattr(tiny_trainer, "sampled_loss", drawn_loss)
    trainer = make_trainer("poisoned", build_optimizer=sophia, max_steps=4)
    trainer.loader.poison = {(0, 0)}
    trainer.train()
    assert trainer.passes == [0, 3]


def test_a_trainer_that_cannot_draw_labels_refuses_before_it_trains(make_trainer):
    trainer = make_trainer(build_optimizer=sophia)
    with pytest.raises(UltraError, match=r"cannot draw labels.*optimizer_class"):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize("name", ["schedulefree_adamw", "gpa_adamw", "prodigy"])
def test_resumes_exactly(name, make_trainer, weights):
    optimizer = lambda modules: build(name, modules, lr=1e-2)  # noqa: E731
    whole = make_trainer("whole", build_optimizer=optimizer)
    whole.train()
    cut = make_trainer("cut", build_optimizer=optimizer)
    cut.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-4"))
    assert same(weights(whole), weights(cut))
