"""A run of a preset with muonclip: it trains, clips, and resumes to the bit."""

import shutil

import torch

from ultra_optim import muonclip

PARAMETERS = "muonclip-lr: 0.01, muonclip-qk_clip_threshold: 0.01, muonclip-qk_clip_alpha: 0.4"
OVERRIDES = (
    f"training.optimizer={{optimizer_class: muonclip, parameters: {{{PARAMETERS}}}}}",
    "training.activation_checkpointing=true",
    "training.scheduler_total_steps=6",
    "training.checkpoint_every_n_steps=3",
    "training.eval_fraction=0",
)


def test_it_trains_clips_and_resumes(run_tiny, tmp_path, monkeypatch):
    told, factors = [], muonclip.clip_factors

    def watched(maxima, **options):
        assert {k: options[k] for k in ("threshold", "alpha")} == {"threshold": 0.01, "alpha": 0.4}
        told.append(maxima.clone())
        return factors(maxima, **options)

    monkeypatch.setattr(muonclip, "clip_factors", watched)
    folder = run_tiny(tmp_path, *OVERRIDES)
    assert len(told) == 2 * 6
    assert bool((torch.stack(told[2 * 3 :]) > 0.01).any()), "nothing was left to clip for the resumed run"
    whole = (folder / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "checkpoints" / "checkpoint-6")
    shutil.rmtree(folder / "model")
    assert run_tiny(tmp_path, *OVERRIDES, resume=True) == folder
    assert (folder / "model" / "model.safetensors").read_bytes() == whole
    assert len(told) == 2 * 9
