"""APOLLO: against its formula and pytorch_optimizer's, draws, scales, the limit of growth, resume."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.apollo import APOLLO, limit_growth_
from ultra_optim.apollo_mini import APOLLOMini
from ultra_optim.engine.seeded_random import normal
from ultra_optim.reference.low_rank import apollo
from ultra_optim.testing.subject import Bag, drive, error, gradients

SHAPES = ((4, 9), (9, 4), (5, 5), (8, 3))
COMMON = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}


def make(params: list[Tensor], cls: type = APOLLO, **options: object) -> torch.optim.Optimizer:
    return cls([{"params": params, "kind": "matrix"}], **options)


def formula(p: Tensor, g: Tensor, state: dict, *, rank: int, interval: int, **options: object) -> Tensor:
    kind = options.get("proj_type", "std")
    sides = {"std": min(p.shape), "reverse_std": max(p.shape), "left": p.shape[0], "right": p.shape[1]}
    side = sides[str(kind)]
    r = min(rank, side)

    def projections(t: int) -> Tensor:
        return normal((side, r), 7, (t - 1) // interval, like=p) / math.sqrt(r)

    return apollo(p, g, state, projections=projections, **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("scale_type", ["channel", "tensor"])
def test_against_the_formula(
    follow: Callable[..., float], dtype: torch.dtype, tolerance: float, scale_type: str
) -> None:
    options = COMMON | {"scale": 2.0, "scale_type": scale_type}
    ours = partial(make, **options, rank=3, update_interval=6, seed=7)
    theirs = partial(formula, **options, rank=3, interval=6)
    assert follow(ours, theirs, SHAPES, dtype=dtype) < tolerance


@pytest.mark.parametrize("scale_type", ["channel", "tensor"])
@pytest.mark.parametrize("proj_type", ["reverse_std", "left", "right"])
def test_any_side_may_be_projected(follow: Callable[..., float], scale_type: str, proj_type: str) -> None:
    options = COMMON | {"scale": 2.0, "scale_type": scale_type, "proj_type": proj_type}
    ours = partial(make, **options, rank=3, update_interval=6, seed=7)
    assert follow(ours, partial(formula, **options, rank=3, interval=6), SHAPES) < 1e-4
    other = {**options, "proj_type": "std"}
    assert follow(ours, partial(formula, **other, rank=3, interval=6), SHAPES[:2]) > 1e-3


def leaping(cls: type, **options: object) -> tuple[Tensor, Tensor]:
    """Where a matrix ends, and where the formula does, when gradients grow and the scale leaps."""
    own: dict = {"rank": 3} if cls is APOLLO else {}
    p = nn.Parameter(torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    expected, state = p.detach().clone(), {}
    told = {"rank": 3, "scale_type": "channel"} if own else {"rank": 1, "scale_type": "tensor"}
    optimizer = make([p], cls, **COMMON, **options, **own, seed=7)
    for t, (g,) in enumerate(gradients([p], 6)):
        scale = optimizer.param_groups[0]["scale"] = 2.0 if t < 3 else 50.0
        p.grad = g.double() * 3.0**t
        optimizer.step()
        expected = formula(expected, p.grad, state, interval=200, scale=scale, **told, **COMMON, **options)
    return p.detach(), expected


@pytest.mark.parametrize("cls", [APOLLO, APOLLOMini])
def test_where_the_scale_acts_and_whether_growth_is_limited(cls: type) -> None:
    ends = []
    for scale_front, disable_nl in ((False, False), (True, False), (False, True)):
        found, expected = leaping(cls, scale_front=scale_front, disable_nl=disable_nl)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        ends.append(found)
    for one, other in itertools.combinations(ends, 2):
        assert float((one - other).abs().max()) > 1e-3
    both, _ = leaping(cls, scale_front=True, disable_nl=True)
    torch.testing.assert_close(both, ends[2])


LIBRARY = "pytorch_optimizer.optimizer.utils.galore.GaLoreProjector.get_orthogonal_matrix"


def first_projection(side: int, rank: int) -> Tensor:
    return normal((side, rank), 7, 0, like=torch.empty(0, dtype=torch.float64)) / math.sqrt(rank)


def either(
    p: Tensor,
    g: Tensor,
    state: dict,
    *,
    library: bool,
    rank: int,
    scale: float,
    scale_type: str,
    proj_type: str = "std",
) -> Tensor:
    """APOLLO, or with ``library`` what pytorch_optimizer takes for it, with one projection for all steps."""
    long = p.shape[0] >= p.shape[1]
    if {"std": not long, "reverse_std": long, "left": True, "right": False}[proj_type]:
        turned = partial(either, library=library, rank=rank, scale=scale, scale_type=scale_type)
        return turned(p.T, g.T, state, proj_type="right").T
    t = state["t"] = state.get("t", 0) + 1
    projection = first_projection(p.shape[1], rank)
    low = g @ projection
    m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * low
    v = state["v"] = 0.98 * state.get("v", 0) + 0.02 * low**2
    normed = m / (v.sqrt() + 1e-6)
    dim = 1 if scale_type == "channel" else (0, 1)
    u = normed.norm(dim=dim, keepdim=True) / low.norm(dim=dim, keepdim=True) * (low if library else g)
    u = u / max(1.0, float(u.norm()) / (1.01 * state.get("length", math.inf)))
    state["length"] = float(u.norm())
    step = 0.01 * math.sqrt(1 - 0.98**t) / (1 - 0.9**t)
    if library:
        return (1 - step * 0.1) * (p - step * math.sqrt(scale) * scale * u @ projection.T)
    return (1 - 0.01 * 0.1) * p - step * math.sqrt(scale) * u


@pytest.mark.parametrize("library", [False, True])
@pytest.mark.parametrize(
    ("cls", "chosen", "told"),
    [
        (APOLLO, {"rank": 3, "scale": 2.0, "scale_type": "channel"}, ("rank", "scale", "scale_type")),
        (APOLLO, {"rank": 3, "scale": 2.0, "scale_type": "tensor"}, ("rank", "scale", "scale_type")),
        (APOLLOMini, {"rank": 1, "scale": 128.0, "scale_type": "tensor"}, ("scale",)),
    ],
    ids=["channel", "tensor", "mini"],
)
@pytest.mark.parametrize("proj_type", ["std", "reverse_std", "left", "right"])
def test_pytorch_optimizer_scales_and_projects_back_what_is_projected(
    follow: Callable[..., float],
    monkeypatch: pytest.MonkeyPatch,
    cls: type,
    chosen: dict,
    told: tuple[str, ...],
    library: bool,
    proj_type: str,
) -> None:
    """It also takes ``scale`` once more, and decays after the step at the rate with Adam's correction."""

    def projection(self: object, weights: Tensor, projection_type: str, **_: object) -> Tensor:
        right = projection_type == "right"
        p = first_projection(weights.shape[1 if right else 0], chosen["rank"])
        return p.T if right else p

    monkeypatch.setattr(LIBRARY, projection)

    def peer(params: list[Tensor]) -> torch.optim.Optimizer:
        group = {"params": params, **chosen, "projection_type": proj_type, "update_proj_gap": 1000}
        return pytorch_optimizer.APOLLO([group], **COMMON)

    own = {name: chosen[name] for name in told}
    ours = partial(make, cls=cls, **COMMON, **own, update_interval=1000, seed=7, proj_type=proj_type)
    expected = partial(either, library=library, proj_type=proj_type, **chosen)
    follows, other = (peer, ours) if library else (ours, peer)
    shapes = SHAPES[:3]  # the peer takes the side of length rank for the projected one
    assert follow(follows, expected, shapes) < 1e-7
    assert follow(other, expected, shapes) > 1e-3


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_the_update_is_the_gradient_with_channels_of_the_longer_side_scaled(shape: tuple[int, int]) -> None:
    """Of full rank, unlike that of pytorch_optimizer's APOLLO, which projects the scaled gradient back."""
    p = nn.Parameter(torch.zeros(shape))
    (g,) = gradients([p], 1)[0]
    drive(make([p], rank=2, lr=1.0), [p], [[g]])
    ratio = p.detach() / g
    across = ratio if shape[0] > shape[1] else ratio.T
    assert error(across, across[:, :1].expand_as(across)) < 1e-5
    assert float(across.std(0).mean()) > 0
    assert int(torch.linalg.matrix_rank(p.detach())) == 5


def test_lengths_grow_by_one_hundredth_at_most() -> None:
    last = torch.zeros(2, 1, 1)
    lengths = torch.tensor([4.0, 2.0])[:, None, None]
    scales = torch.ones(2, 3, 1)
    limit_growth_(scales, lengths, last)
    assert torch.equal(scales, torch.ones(2, 3, 1)), "there is no last length yet"
    limit_growth_(scales, lengths * torch.tensor([5.0, 0.5])[:, None, None], last)
    torch.testing.assert_close(scales[:, 0, 0], torch.tensor([1.01 / 5, 1.0]))
    torch.testing.assert_close(last.flatten(), torch.tensor([4.04, 1.0]))


def test_a_gradient_of_zeros_does_not_hold_a_matrix_back() -> None:
    """An expert without tokens; the authors' code would let it start again from a length of 1e-8."""
    p = nn.Parameter(torch.zeros(6, 4))
    optimizer = make([p], lr=1.0, betas=(0.5, 0.5))
    (g,) = gradients([p], 1)[0]
    drive(optimizer, [p], [[g]])
    first = float(p.detach().norm())
    drive(optimizer, [p], [[torch.zeros(6, 4)]])
    before = p.detach().clone()
    drive(optimizer, [p], [[g]])
    assert float((p.detach() - before).norm()) > 0.3 * first


def test_the_projection_is_drawn_anew_when_it_should_and_shared() -> None:
    optimizer = make([nn.Parameter(torch.zeros(6, 4))], rank=2, update_interval=3, seed=5)
    group = optimizer.param_groups[0]
    draws = [optimizer.projection(group, step, torch.empty(1, 6, 4)) for step in range(1, 8)]
    assert [i for i in range(1, 7) if not torch.equal(draws[i], draws[i - 1])] == [3, 6]
    assert torch.equal(optimizer.projection(group, 7, torch.empty(1, 9, 4)), draws[-1])
    many = optimizer.projection(group | {"rank": 400}, 1, torch.empty(1, 500, 500))
    assert float(many.var()) == pytest.approx(1 / 400, rel=0.05)


def test_resumes_half_way_between_two_draws() -> None:
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((6, 4), (4, 6), (5,))]
    steps = gradients(start, 12)
    whole, first, second = (Bag([t.clone() for t in start]) for _ in range(3))
    options = {"update_interval": 4, "lr": 0.1, "seed": 3}
    drive(build("apollo", whole, **options), whole.tensors(), steps)
    optimizer = build("apollo", first, **options)
    drive(optimizer, first.tensors(), steps[:6])
    second.load_state_dict(first.state_dict())
    resumed = build("apollo", second, **{**options, "seed": 4})
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    torch.manual_seed(99)
    drive(resumed, second.tensors(), steps[6:])
    for a, b in zip(whole.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)


def test_state_of_a_matrix() -> None:
    p = nn.Parameter(torch.zeros(30, 20))
    optimizer = make([p], rank=8)
    drive(optimizer, [p], gradients([p], 1))
    kept = sum(v.numel() for v in optimizer.state[p].values() if isinstance(v, Tensor))
    assert kept == 2 * 30 * 8 + 1
