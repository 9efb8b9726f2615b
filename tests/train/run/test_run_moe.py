"""A run whose experts are evened by a bias: the trainer moves it, checkpoints hold it, resuming is exact."""

import shutil

import torch
from safetensors.torch import load_file

MOE = (
    "model.use_moe=true",
    "model.ffn={moe: {routing: sigmoid, balance: bias, expert: glu}}",
    "training.activation_checkpointing=true",
)


def biases(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    return torch.stack([value for name, value in weights.items() if name.endswith("score_bias")])


def test_the_bias_moves_once_an_update_and_is_resumed(run_tiny, tmp_path):
    folder = run_tiny(tmp_path, *MOE)
    for updates in (4, 8, 12):
        found = biases(folder / "checkpoints" / f"checkpoint-{updates}")
        assert found.shape == (2, 4)
        assert 0 < found.abs().max() <= 1e-3 * updates * (1 + 1e-5)
    whole = (folder / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "checkpoints" / "checkpoint-12")
    shutil.rmtree(folder / "model")
    assert run_tiny(tmp_path, *MOE, resume=True) == folder
    assert (folder / "model" / "model.safetensors").read_bytes() == whole
