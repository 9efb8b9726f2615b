"""muonclip in the trainer: which forward passes count, that it clips, and that it resumes to the bit."""

import pytest
import torch
from torch import Tensor

from ultra_blocks.config import UltraConfig
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_core.errors import UltraError
from ultra_optim import build, muonclip

BOUND = 0.5


class Attentive(UltraForMaskedLM):
    """Two layers of attention; ``poison`` makes the loss infinite or NaN."""

    def forward(self, input_ids, labels=None, poison=None, num_items_in_batch=None):
        output = super().forward(input_ids, labels=labels, num_items_in_batch=num_items_in_batch)
        return {"loss": output.loss if poison is None else output.loss * poison, "logits": output.logits}


def attentive(dropout: float = 0.0) -> Attentive:
    """Queries that are far too large."""
    torch.manual_seed(1)
    config = UltraConfig(
        vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, ffn_hidden_size=16, dropout=dropout,
        layer_pattern=("standard_attn", "latent_attn"), use_moe=False, use_hope=False,
    )  # fmt: skip
    model = Attentive(UltraHFConfig.from_ultra(config))
    with torch.no_grad():
        for layer in model.model.encoder.layers:
            projection = getattr(layer.mixer, "q_proj", None) or layer.mixer.qkv_proj
            projection.weight[:16].mul_(200)
    return model


def clipping(modules):
    return build("muonclip", modules, lr=1e-3, qk_clip_threshold=BOUND)


@pytest.fixture
def maxima(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the optimizer is told, block after block, step after step."""
    found: list[Tensor] = []
    factors = muonclip.clip_factors

    def watched(maxima: Tensor, **options):
        found.append(maxima.clone())
        return factors(maxima, **options)

    monkeypatch.setattr(muonclip, "clip_factors", watched)
    return found


def test_it_clips_in_every_step_and_resumes_to_the_bit(make_trainer, weights, maxima):
    whole = make_trainer("whole", model=attentive(0.1), build_optimizer=clipping)
    whole.train()
    assert len(maxima) == 2 * 12
    assert min(float(m.min()) for m in maxima[:2]) > 1.5 * BOUND, "the bound was not reached"
    assert max(float(m.max()) for m in maxima[-2:]) < 1.5 * BOUND
    told = torch.stack(maxima[2 * 4 :])
    assert bool((told > BOUND).any()), "nothing was left to clip for the resumed run"
    maxima.clear()
    cut = make_trainer("cut", model=attentive(0.1), build_optimizer=clipping)
    cut.train(resume_from_checkpoint=str(whole.checkpoint_root / "checkpoint-4"))
    assert torch.equal(torch.stack(maxima), told)
    one, other = weights(whole), weights(cut)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_all_micro_batches_of_a_step_count_and_those_of_a_dropped_one_do_not(make_trainer, maxima):
    model = attentive()
    blocks = [layer.mixer for layer in model.model.encoder.layers]
    for block in blocks:
        block.record_logits(True)
    trainer = make_trainer(model=model, build_optimizer=clipping, max_steps=1)
    batches = list(type(trainer.loader)())
    trainer.loader.poison = {(0, 0)}
    alone = []
    for batch in batches[:4]:
        model.train()(**batch, num_items_in_batch=1)
        alone.append([block.take_max_logits() for block in blocks])
    trainer.train()
    assert trainer.gate.dropped == 1
    assert len(maxima) == 2
    for told, first, second, third, fourth in zip(maxima, *alone, strict=True):
        torch.testing.assert_close(told, torch.maximum(third, fourth))
        assert not torch.equal(third, fourth)
        assert bool((torch.maximum(first, second) != torch.maximum(third, fourth)).any())


def test_a_model_without_attention_of_its_own_is_refused_before_it_trains(make_trainer):
    trainer = make_trainer(build_optimizer=clipping)
    with pytest.raises(UltraError, match=r"no attention block whose logits .* Use muon"):
        trainer.train()
    assert trainer.state.global_step == 0
