"""AdamW with 8-bit moments: against pytorch_optimizer's FlashAdamW, codes, limits, resume.

FlashAdamW has even steps of 32 numbers to a scale. The project does not depend on
bitsandbytes, which has the paper's codes; torch and HeavyBall have no 8-bit moments.
"""

import copy

import pytest
import torch
from pytorch_optimizer.optimizer import flash_adamw
from torch import Tensor, nn

from ultra_optim import AdamW, AdamW8bit, adamw_8bit, build
from ultra_optim.engine import sizes
from ultra_optim.families.quantised import dequantize, state_bytes
from ultra_optim.testing import cases, check_optimizer

RULES = [rule for _, rule in cases(["adamw_8bit"]) if rule not in {"O1", "O19", "O33"}]
"""Rounded, it is AdamW only roughly (O1, O19), and any other limit leaves the small models rounded (O33)."""


@pytest.mark.parametrize("rule", RULES)
def test_all_tensors_in_eight_bits_keep_the_rules(rule: str) -> None:
    """The kit's small models would otherwise be float32 throughout."""
    check_optimizer("adamw_8bit", rule, {"min_8bit_size": 0})


def grown(steps: int, **options: float) -> tuple[nn.Parameter, AdamW8bit]:
    p = nn.Parameter(torch.randn(70, 80, generator=torch.Generator().manual_seed(0)))
    optimizer = AdamW8bit([p], lr=0.01, **options)  # type: ignore[arg-type]
    for step in range(steps):
        p.grad = torch.randn(70, 80, generator=torch.Generator().manual_seed(step + 1))
        optimizer.step()
    return p, optimizer


def test_state_is_what_the_formula_says() -> None:
    p, optimizer = grown(2)
    kept = sum(value.nbytes for value in optimizer.state[p].values() if isinstance(value, torch.Tensor))
    assert kept == 2 * state_bytes(p.numel()) == 2 * (5600 + 4 * 22)
    assert optimizer.state[p]["exp_avg"].dtype == torch.uint8


def test_moments_are_adamws_up_to_a_code() -> None:
    p, optimizer = grown(1)
    exact = nn.Parameter(torch.randn(70, 80, generator=torch.Generator().manual_seed(0)))
    reference = AdamW([exact], lr=0.01, weight_decay=0.01)
    exact.grad = p.grad
    reference.step()
    torch.testing.assert_close(p, exact, rtol=1e-6, atol=1e-8)  # codes begin after the first step
    state = optimizer.state[p]
    m = dequantize(state["exp_avg"].view(-1), state["exp_avg_scale"], signed=True)
    expected = reference.state[exact]["exp_avg"].view(-1)
    assert float((m - expected).abs().max() / expected.abs().max()) < 0.01
    assert not torch.equal(m, expected)


def flash(steps: int) -> nn.Parameter:
    p = nn.Parameter(torch.randn(70, 80, generator=torch.Generator().manual_seed(0)))
    optimizer = flash_adamw.FlashAdamW([p], lr=0.01, weight_decay=0.01)
    for step in range(steps):
        p.grad = torch.randn(70, 80, generator=torch.Generator().manual_seed(step + 1))
        optimizer.step()
    return p


def test_with_the_codes_of_pytorch_optimizer_it_is_its_flash_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    def code(values: Tensor, codes: Tensor, scales: Tensor, *, signed: bool) -> None:
        kept[codes.data_ptr()] = flash_adamw.quantize_state(values, signed, not signed, signed)

    def decode(codes: Tensor, scales: Tensor, *, signed: bool) -> Tensor:
        if codes.data_ptr() not in kept:
            return torch.zeros(codes.shape)
        return flash_adamw.dequantize_state(*kept[codes.data_ptr()], signed, not signed, signed)

    theirs = flash(20)
    assert float((grown(20)[0] - theirs).detach().abs().max()) > 1e-3
    monkeypatch.setattr(adamw_8bit, "quantize_", code)
    monkeypatch.setattr(adamw_8bit, "dequantize", decode)
    ours, _ = grown(20)
    assert len(kept) == 2
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_gradients_of_many_sizes_lead_where_adamw_leads_nearer_than_flash_adamw() -> None:
    """Even steps lose what is small beside its neighbours; where all are of a size they are finer."""
    sizes = torch.logspace(-3, 0, 32).repeat(175).view(70, 80)
    ends = []
    for make in (AdamW, AdamW8bit, flash_adamw.FlashAdamW):
        p = nn.Parameter(torch.zeros(70, 80))
        optimizer = make([p], lr=0.01, weight_decay=0.01)
        for step in range(20):
            p.grad = sizes * torch.randn(70, 80, generator=torch.Generator().manual_seed(step + 1))
            optimizer.step()
        ends.append(p.detach())
    ours, theirs = (float((end - ends[0]).norm() / ends[0].norm()) for end in ends[1:])
    assert ours < 0.2
    assert theirs > 1, "what is 0 in codes steps by m / eps"


def test_small_tensors_and_embeddings_keep_float32() -> None:
    model = nn.Sequential(nn.Embedding(100, 64), nn.Linear(64, 64))
    optimizer = build("adamw_8bit", model, lr=1e-3)
    model(torch.arange(100)).sum().backward()
    optimizer.step()
    dtypes = {name: optimizer.state[p]["exp_avg"].dtype for name, p in model.named_parameters()}
    assert dtypes == {"0.weight": torch.float32, "1.weight": torch.uint8, "1.bias": torch.float32}


def test_a_parameter_stays_in_codes_when_the_limit_changes() -> None:
    p, optimizer = grown(2)
    twin = nn.Parameter(p.detach().clone())
    other = AdamW8bit([twin], lr=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.param_groups[0]["min_8bit_size"] = 10**9
    for each, its in ((p, optimizer), (twin, other)):
        each.grad = torch.ones(70, 80)
        its.step()
    assert torch.equal(p, twin)
    assert other.state[twin]["exp_avg"].dtype == torch.uint8


def test_an_element_whose_gradient_stays_away_does_not_explode() -> None:
    """Its second moment is far below its block's largest; as 0 it would make the step m / eps."""
    p = nn.Parameter(torch.zeros(256))
    optimizer = AdamW8bit([p], lr=1e-3, weight_decay=0.0, min_8bit_size=0)
    for step in range(20):
        p.grad = torch.ones(256)
        p.grad[1] = 1e-4 if step == 0 else 0.0
        optimizer.step()
    assert float(p.detach()[1].abs()) < 0.02


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = grown(3)
    monkeypatch.setattr(sizes, "TORCH_SLICE", 1024)
    pieces, _ = grown(3)
    assert float((whole - pieces).detach().abs().max()) < 1e-7
