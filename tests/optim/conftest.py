"""Tiny models of transformers, one of each family that presets adapt."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def _albert(t: Any) -> nn.Module:
    return t.AlbertForMaskedLM(t.AlbertConfig(**SMALL, embedding_size=8))


RELATIVE: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}


def _deberta(t: Any) -> nn.Module:
    return t.DebertaForMaskedLM(t.DebertaConfig(**SMALL, **RELATIVE, max_relative_positions=8))


def _deberta_v2(t: Any) -> nn.Module:
    config = t.DebertaV2Config(**SMALL, **RELATIVE, position_buckets=4, embedding_size=8)
    return t.DebertaV2ForMaskedLM(config)


def _modernbert(t: Any) -> nn.Module:
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return t.ModernBertForMaskedLM(t.ModernBertConfig(**SMALL, **special))


def _distilbert(t: Any) -> nn.Module:
    config = t.DistilBertConfig(vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    return t.DistilBertForMaskedLM(config)


FAMILIES: dict[str, Callable[[Any], nn.Module]] = {
    "albert": _albert,
    "bert": lambda t: t.BertForMaskedLM(t.BertConfig(**SMALL)),
    "deberta": _deberta,
    "deberta-v2": _deberta_v2,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "roberta": lambda t: t.RobertaForMaskedLM(t.RobertaConfig(**SMALL)),
    "xlm-roberta": lambda t: t.XLMRobertaForMaskedLM(t.XLMRobertaConfig(**SMALL)),
}


@pytest.fixture(params=sorted(FAMILIES))
def pretrained(request: pytest.FixtureRequest) -> nn.Module:
    import transformers

    return FAMILIES[request.param](transformers)


@pytest.fixture
def bert() -> nn.Module:
    import transformers

    return FAMILIES["bert"](transformers)


@pytest.fixture
def follow() -> Callable[..., float]:
    """Return how far an optimizer and a formula, or another optimizer, are apart after fixed gradients.

    The formula maps (p, g, state) to the new p; ``make`` and an optimizer's maker map parameters to it.
    """

    def run(
        make: Callable[[list[Tensor]], Any],
        other: Callable[..., Any],
        shapes: Sequence[tuple[int, ...]],
        *,
        formula: bool = True,
        dtype: torch.dtype = torch.float64,
        steps: int = 20,
    ) -> float:
        def tensors(seed: int) -> list[Tensor]:
            generator = torch.Generator().manual_seed(seed)
            return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]

        ours, theirs = ([t.requires_grad_() for t in tensors(0)] for _ in range(2))
        optimizer, rival = make(ours), None if formula else other(theirs)
        values, states = tensors(0), [{} for _ in shapes]
        for step in range(steps):
            for each, stepper in ((ours, optimizer), (theirs, rival)):
                for p, g in zip(each, tensors(step + 1), strict=True):
                    p.grad = g
                if stepper is not None:
                    stepper.step()
            if formula:
                grads = tensors(step + 1)
                values = [other(p, g, s) for p, g, s in zip(values, grads, states, strict=True)]
        expected = values if formula else [t.detach() for t in theirs]
        pairs = zip(ours, expected, strict=True)
        return max(float((a.detach() - e).abs().max() / e.abs().max()) for a, e in pairs)

    return run
