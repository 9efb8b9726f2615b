"""Trainers of two processes: the same decisions on both, and the numbers of one process."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from transformers import TrainerCallback

from support.ranks import on_ranks
from ultra_blocks.ffn.moe import MoE
from ultra_core import optimizers
from ultra_optim import build
from ultra_train.system.processes import processes
from ultra_train.trainer import data_parallel
from ultra_train.trainer.checkpoints.content import named_tensors
from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.guards import TrainingDiverged
from ultra_train.trainer.optimizers import local_state

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

POISON = {(0, 3), (2, 0)}  # batches of the second process: the 4th and the 11th micro-batch of all


@pytest.fixture
def exact(make_trainer):
    """Build a trainer in fp64 and without dropout; one process accumulates what two share."""

    def make(folder, **options):
        trainer = make_trainer(folder, accumulation=4 // processes().count, **options)
        for module in trainer.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        trainer.model.double()
        return trainer

    return make


def numbers(trainer):
    """What the processes must agree on, and what one process has in their place."""
    weights = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    counts = (trainer.tokens_seen, trainer.gate.dropped, trainer.state.global_step)
    rolled = [event["left_out"] for event in trainer.events if event["event"] == "rollback"]
    modules = [event["module"] for event in trainer.events if event["event"] == "dropped_update"]
    return weights, losses, (counts, rolled, modules, trainer.settings.stream.position)


def assert_close(found, expected):
    assert found[2] == expected[2]
    assert found[1] == pytest.approx(expected[1], rel=1e-9)
    for name, value in expected[0].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-9, atol=1e-12)


def test_a_bad_micro_batch_of_one_process_is_dropped_and_rolled_back_on_both(exact, monkeypatch):
    """Also where the processes divide the matrices and their state."""
    monkeypatch.setattr(data_parallel, "LEAST", 1)

    def run(folder):
        muon = {"build_optimizer": lambda modules: build("muon", modules, lr=1e-3)}
        trainer = exact(folder, patience=1, max_steps=6, save_steps=2, **muon)
        trainer.loader.poison = POISON - {(0, 3)}
        trainer.train()
        return numbers(trainer)

    expected = run("one")
    assert expected[2][1] == [[(1, 3), (1, 4), (2, 0), (2, 1)]]
    for found in on_ranks(2, run, "two"):
        assert_close(found, expected)


def test_a_bad_micro_batch_before_any_checkpoint_ends_both(exact):
    def run():
        trainer = exact("two", patience=1)
        trainer.loader.poison = POISON
        with pytest.raises(TrainingDiverged, match="no checkpoint yet to roll back to"):
            trainer.train()
        return numbers(trainer)[2]

    first, second = on_ranks(2, run)
    assert first == second
    assert first[0][1] == 1


class Breaking(TrainerCallback):
    """Makes a weight of the second process infinite in the second update."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        if processes().rank == 1 and state.global_step == 1:
            next(iter(model.parameters())).data.fill_(float("inf"))


def test_a_bad_weight_of_one_process_ends_both(exact):
    def run():
        trainer = exact("two", callbacks=[Breaking()], scan_every=1)
        with pytest.raises(TrainingDiverged, match="weights are not finite, and there is no checkpoint yet"):
            trainer.train()
        return trainer.state.global_step

    assert on_ranks(2, run) == [2, 2]


def test_another_number_of_micro_batches_is_said_once(make_trainer):
    make_trainer("run", accumulation=2, max_steps=1, save_steps=1).train()
    resumed = make_trainer("run", accumulation=3, max_steps=2, save_steps=1)
    resumed.train(resume_from_checkpoint=str(resumed.checkpoint_root / "checkpoint-1"))
    (notice,) = [event["text"] for event in resumed.events if event["event"] == "notice"]
    assert notice == "an update now takes 3 micro-batches of all processes, and took 2 before"


class Asking(TrainerCallback):
    """Asks for a checkpoint and for the end, on the second process only."""

    def on_step_end(self, args, state, control, **kwargs):
        if processes().rank == 1:
            control.should_save = state.global_step == 2
            control.should_training_stop = state.global_step == 3


def test_what_a_callback_asks_on_one_process_is_done_on_both(exact):
    def run():
        trainer = exact("two", callbacks=[Asking()], save_steps=100)
        trainer.train()
        return trainer.state.global_step, [c.step for c in list_checkpoints(trainer.checkpoint_root)]

    assert on_ranks(2, run) == [(3, [2]), (3, [2])]


class Counting(TrainerCallback):
    """Counts what is exchanged: the gradients, and everything else."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.gradients, self.others = [], []

    def on_train_begin(self, args, state, control, **kwargs):
        def hook(_, bucket):
            self.gradients.append(bucket.buffer().nbytes)
            work = all_reduce(bucket.buffer(), async_op=True).get_future()
            return work.then(lambda done: done.value()[0] / dist.get_world_size())

        all_reduce = dist.all_reduce
        self.trainer.model_wrapped.register_comm_hook(None, hook)

        def note(tensor, *args, **kwargs):
            self.others.append(tensor.nbytes)
            return all_reduce(tensor, *args, **kwargs)

        dist.all_reduce = note


def test_gradients_are_exchanged_once_an_update(exact):
    """Four micro-batches, one exchange of every gradient; beside it, numbers of a hundred bytes."""

    def run():
        trainer = exact("two", max_steps=3, save_steps=100)
        trainer.args.gradient_accumulation_steps = 4
        counting = Counting(trainer)
        trainer.add_callback(counting)
        trainer.train()
        of_weights = sum(p.numel() * p.element_size() for p in trainer.model.parameters())
        return counting.gradients, counting.others, of_weights

    for gradients, others, of_weights in on_ranks(2, run):
        assert sum(gradients) == 3 * of_weights
        assert len(gradients) == 3 * len({*gradients})
        assert max(others) <= 100
        assert len(others) <= 3 * 3 + 2


def test_gradients_of_shared_parameters_are_exchanged_once_an_update(exact):
    """Those of the layer, and those of all that is in no layer."""

    def run():
        trainer, exchanged = exact("two", max_steps=3, save_steps=100, sharded=True), []
        trainer.args.gradient_accumulation_steps = 4
        name = next(n for n in ("reduce_scatter_single", "reduce_scatter_tensor") if hasattr(dist, n))
        reduce = getattr(dist, name)
        setattr(dist, name, lambda *args, **kwargs: exchanged.append(1) or reduce(*args, **kwargs))
        trainer.train()
        return len(exchanged)

    assert on_ranks(2, run) == [3 * 2] * 2


def drawn_loss(trainer, model, inputs):
    scores = model(**inputs, num_items_in_batch=1)["logits"][inputs["labels"] != -100]
    drawn = torch.multinomial(scores.detach().softmax(-1), 1).squeeze(-1)
    return torch.nn.functional.cross_entropy(scores, drawn), len(drawn)


@pytest.mark.parametrize("name", ["sophia", "schedulefree_adamw", "apollo_8bit", "galore_adamw", "psgd_kron"])
def test_weights_and_state_stay_the_same_on_all_processes(make_trainer, tiny_trainer, monkeypatch, name):
    """Dropout differs, and sampled labels do; the state of matrices is at their owners."""
    monkeypatch.setattr(tiny_trainer, "sampled_loss", drawn_loss)
    monkeypatch.setattr(data_parallel, "LEAST", 1)

    def run():
        trainer = make_trainer(
            "two", build_optimizer=lambda modules: build(name, modules, lr=1e-3), max_steps=4
        )
        trainer.train()
        state = dict(named_tensors(local_state(trainer.optimizer)))
        return trainer.model.state_dict(), state, torch.rand(1)

    (weights, state, draw), (others, other, another) = on_ranks(2, run)
    assert draw != another
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    common = state.keys() & other.keys()
    assert common
    assert all(torch.equal(state[key], other[key]) for key in common)
    divided = optimizers.get(name).traits.matrix
    assert bool(state.keys() - common) == bool(other.keys() - common) == divided


def test_a_mixture_evens_the_loads_of_all_processes(exact):
    def run(folder):
        trainer = exact(folder, max_steps=4)
        torch.manual_seed(1)
        moe = MoE(16, 8, num_experts=8, routing="sigmoid", balance="bias", bias_rate=0.01).double()
        trainer.model.bert.moe = moe
        trainer.model.bert.embeddings.register_forward_hook(lambda module, args, x: x + moe(x)[0])
        trainer.train()
        assert float(moe.score_bias.abs().max()) > 0
        return numbers(trainer)

    expected = run("one")
    for found in on_ranks(2, run, "two"):
        assert_close(found, expected)


def test_the_loop_of_transformers_evaluates_what_one_process_does(exact):
    """Three batches, an odd number, of several sizes."""

    def run():
        trainer = exact("two", compute_metrics=lambda p: {"shape": p.predictions.shape[0]})
        ids = torch.arange(60).reshape(10, 6) % 40
        batches = [{"input_ids": part, "labels": part} for part in ids.split([4, 4, 2])]
        trainer.model_accepts_loss_kwargs = False
        forward = trainer.model.forward
        trainer.model.forward = lambda **inputs: forward(**inputs, num_items_in_batch=1)
        found = trainer.evaluate(batches)
        return {k: v for k, v in found.items() if not k.endswith(("second", "runtime", "time"))}

    expected = run()
    assert expected["eval_shape"] == 10
    for found in on_ranks(2, run):
        assert found == pytest.approx(expected, rel=1e-12)
