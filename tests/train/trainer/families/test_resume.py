"""A run of any family that is killed and resumed ends with the weights of one that was not, bit for bit."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from ultra_train.tasks.base_model import load_base

LENGTHS = (24, 36, 9, 32, 12)


@pytest.fixture
def batches(texts):
    """Five micro-batches, long and short ones."""
    return lambda model: [texts(model, rows=2, length=n, seed=n) for n in LENGTHS]


def test_a_resumed_run_of_any_family_is_exact(family, build, batches, make_mlm_trainer, tmp_path, weights):
    build(family).save_pretrained(tmp_path / "base")

    def trainer(folder, steps=6):
        model = load_base(str(tmp_path / "base"), dtype=torch.float32).model
        return make_mlm_trainer(model, batches(model), folder=folder, max_steps=steps, save_steps=3)

    unbroken = trainer("unbroken")
    unbroken.train()
    expected = weights(unbroken)
    resumed = trainer("resumed")
    shutil.copytree(unbroken.checkpoint_root / "checkpoint-3", resumed.checkpoint_root / "checkpoint-3")
    resumed.train(resume_from_checkpoint=str(resumed.checkpoint_root / "checkpoint-3"))
    found = weights(resumed)
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    moved = load_base(str(tmp_path / "base"), dtype=torch.float32).model.state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in expected.items())


@pytest.mark.parametrize("family", ["nomic_bert", "gte"])
def test_a_checkpoint_with_the_names_of_the_publisher_resumes_too(
    family, build, batches, make_mlm_trainer, weights
):
    trainer = make_mlm_trainer(build(family), batches(build(family)), max_steps=1, save_steps=1)
    trainer.train()
    expected = weights(trainer)
    checkpoint = trainer.checkpoint_root / "checkpoint-1"
    trainer.model.save_pretrained(checkpoint)
    assert not set(load_file(checkpoint / "model.safetensors")) <= set(expected)
    again = make_mlm_trainer(build(family), batches(build(family)), folder="again", max_steps=1)
    again.load_finished(checkpoint)
    found = weights(again)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
