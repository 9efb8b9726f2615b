"""APOLLO with 8-bit moments: what is kept, how near it stays to APOLLO, blocks of scales, resume.

torch, pytorch_optimizer and HeavyBall have no APOLLO with 8-bit moments, and the authors' Q-APOLLO has 8-bit
weights. Its oracle is APOLLO, which ``test_apollo.py`` compares with the authors' formula in
``ultra_optim.reference`` and with pytorch_optimizer; the codes are compared in ``test_adamw_8bit.py``.
"""

import copy

import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.apollo import APOLLO
from ultra_optim.apollo_8bit import APOLLO8bit
from ultra_optim.testing.subject import Bag, drive, gradients


def run(cls: type, steps: list[list[Tensor]], **options: object) -> tuple[torch.optim.Optimizer, Tensor]:
    p = nn.Parameter(torch.zeros_like(steps[0][0]))
    optimizer = cls([{"params": [p], "kind": "matrix"}], lr=0.01, **options)
    drive(optimizer, [p], steps)
    return optimizer, p.detach()


def test_state_is_codes_and_scales() -> None:
    optimizer, _ = run(APOLLO8bit, gradients([torch.empty(100, 30)], 2), rank=8)
    (state,) = optimizer.state.values()
    for name in ("low_avg", "low_avg_sq"):
        assert state[name].dtype == torch.uint8
        assert state[name].numel() == 100 * 8
        assert state[f"{name}_scale"].dtype == torch.float32
        assert state[f"{name}_scale"].numel() == 4  # of 256 numbers each, the last of 32
    kept = sum(v.numel() * v.element_size() for v in state.values() if isinstance(v, Tensor))
    assert kept == 2 * (800 + 4 * 4) + 4


def test_it_stays_near_apollo() -> None:
    steps = gradients([torch.empty(40, 64)], 30)
    (_, coded), (_, plain) = run(APOLLO8bit, steps, rank=16), run(APOLLO, steps, rank=16)
    assert not torch.equal(coded, plain)
    assert float((coded - plain).norm() / plain.norm()) < 0.05


def test_small_gradients_beside_large_ones_are_not_lost() -> None:
    """Linear codes with one range for the tensor would make their second moment 0 and their step huge."""
    sizes = torch.logspace(-4, 0, 64)[:, None]
    steps = [[g[0] * sizes] for g in gradients([torch.empty(64, 32)], 20)]
    _, coded = run(APOLLO8bit, steps, rank=8)
    _, plain = run(APOLLO, steps, rank=8)
    ratio = coded.norm(dim=1) / plain.norm(dim=1)
    assert float(ratio.min()) > 0.5
    assert float(ratio.max()) < 2.0


def test_experts_have_scales_of_their_own() -> None:
    steps = gradients([torch.empty(3, 10, 6)], 5)
    steps = [[g[0] * torch.tensor([1.0, 1e-3, 1e3])[:, None, None]] for g in steps]
    p = nn.Parameter(torch.zeros(3, 10, 6))
    drive(APOLLO8bit([{"params": [p], "kind": "expert"}], lr=0.01, rank=4), [p], steps)
    for index in range(3):
        _, alone = run(APOLLO8bit, [[g[0][index]] for g in steps], rank=4)
        torch.testing.assert_close(p.detach()[index], alone, rtol=1e-4, atol=1e-6)


def test_resumes_half_way_between_two_draws() -> None:
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((6, 4), (40, 60), (5,))]
    steps = gradients(start, 10)
    whole, first, second = (Bag([t.clone() for t in start]) for _ in range(3))
    options = {"update_interval": 4, "lr": 0.1, "seed": 3, "rank": 5}
    drive(build("apollo_8bit", whole, **options), whole.tensors(), steps)
    optimizer = build("apollo_8bit", first, **options)
    drive(optimizer, first.tensors(), steps[:6])
    second.load_state_dict(first.state_dict())
    resumed = build("apollo_8bit", second, **options)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(resumed, second.tensors(), steps[6:])
    for a, b in zip(whole.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)
