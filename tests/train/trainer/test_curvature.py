"""Optimizers that ask more of a trainer than a step: curvature passes, two sets of weights, one distance."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ultra_blocks.ffn.moe import MoE
from ultra_core.errors import UltraError
from ultra_optim import Sophia, build
from ultra_train.trainer.curvature import CurvatureMixin
from ultra_train.trainer.gate import Update
from ultra_train.trainer.optimizers import unwrapped


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
    assert isinstance(unwrapped(whole.optimizer), Sophia)
    assert whole.passes == [0, 3, 6, 9]  # counted before the update is
    assert all(bool((s["curvature"] > 0).any()) for s in unwrapped(whole.optimizer).state.values())
    cut = make_trainer("cut", build_optimizer=sophia)
    cut.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-4"))
    assert cut.passes == [6, 9]
    assert same(weights(whole), weights(cut))


def test_the_pass_is_not_counted_by_a_mixture_that_evens_its_loads(
    make_trainer, tiny_trainer, weights, monkeypatch
):
    """Updates 4, after which a checkpoint is saved, and 10, the last, have a pass."""
    monkeypatch.setattr(tiny_trainer, "sampled_loss", drawn_loss)

    def mixed(folder):
        trainer = make_trainer(folder, build_optimizer=sophia, max_steps=10)
        moe = MoE(16, 8, num_experts=8, routing="sigmoid", balance="bias", bias_rate=0.01)
        moved_by = trainer.moved_by = []
        after_step = moe.after_step

        def note(taken):
            moved_by.extend([moe.loads.tolist()] if taken else [])
            after_step(taken)

        moe.after_step = note
        trainer.model.bert.moe = moe
        trainer.model.bert.embeddings.register_forward_hook(lambda module, args, x: x + moe(x)[0])
        return trainer

    whole = mixed("whole")
    whole.train()
    assert whole.model.bert.moe.loads is None
    cut = mixed("cut")
    cut.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-4"))
    assert (len(whole.moved_by), whole.moved_by[4:]) == (10, cut.moved_by)
    assert same(weights(whole), weights(cut))


class Process(CurvatureMixin):
    """One of several processes with the same weights; ``labels_of_all`` is what the reduction returns."""

    def __init__(self, weights, inputs, labels_of_all, processes):
        torch.manual_seed(0)
        self.model = self.model_wrapped = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        self.model.load_state_dict(weights)
        self.optimizer = build("sophia", self.model, weight_decay=0.0)
        self.gate = SimpleNamespace(update=Update(micro_batches=[inputs]))
        self._prepare_inputs = lambda batch: batch
        self.compute_loss_context_manager = nullcontext
        self.accelerator = SimpleNamespace(
            scaler=None,
            autocast=nullcontext,
            num_processes=processes,
            device="cpu",
            reduce=lambda own, how: {"sum": torch.full_like(own, labels_of_all)}[how],
        )

    def sampled_loss(self, model, inputs):
        losses = model(inputs).square().sum(-1)
        return losses.sum() / max(1, len(losses)), len(losses)

    def curvature(self, average=lambda grad: grad):
        """Return h after the first step; ``average`` stands for what DDP does to a gradient."""
        self.model.weight.grad = torch.zeros_like(self.model.weight)
        self.optimizer.step()
        self.model.weight.register_hook(average)
        self.estimate_curvature()
        return self.optimizer.state[self.model.weight]["curvature"]


@pytest.mark.parametrize("counts", [(4, 4), (5, 1), (3, 0)])
def test_the_curvature_of_two_processes_is_that_of_one_with_the_labels_of_both(counts):
    weights = {"weight": torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))}
    inputs = torch.randn(sum(counts), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = Process(weights, inputs, None, 1).curvature()
    assert bool((expected > 0).all())
    grads = []
    for part in inputs.split(counts):
        Process(weights, part, sum(counts), 2).curvature(grads.append)
    for part in inputs.split(counts):
        found = Process(weights, part, sum(counts), 2).curvature(lambda _: sum(grads) / 2)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


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
