"""Twenty steps against HeavyBall; where it computes something else, the term that differs is added.

HeavyBall divides by max(sqrt(v), eps), everybody else here by sqrt(v) + eps; comparisons have an eps that
neither notices. A formula with a switch follows us one way and HeavyBall the other.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import ultra_optim
from ultra_optim.families.orthogonal import orthogonalize
from ultra_optim.reference import adam_family, muon, preconditioned

CLOSE = 1e-7
"""In float64; HeavyBall keeps its rate, and the decay rates it corrects for the start, in float32."""

SHAPES = ((7,), (4, 9), (9, 4))
MATRICES = ((4, 9), (9, 4), (5, 5))
SQUARES = ((4, 4), (5, 5), (9, 9))
"""L and R have full rank from the first step on, so that their eigenvectors are what they are."""

EXACT = {torch.float64: CLOSE, torch.float32: 2e-5}
DECAY = {"lr": 0.01, "weight_decay": 0.1}
KEEP = 1 - 0.01 * 0.1
NO_EPS = {"eps": 1e-30}
Follow = Callable[..., float]
each_dtype = pytest.mark.parametrize("dtype", EXACT, ids=str)


@pytest.fixture(scope="module")
def heavyball() -> Iterator[ModuleType]:
    """HeavyBall without its compiler; it is imported by this file's tests alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import heavyball
    before = heavyball.utils.compile_mode
    heavyball.utils.compile_mode = None
    yield heavyball
    heavyball.utils.compile_mode = before


def peer(cls: type, **options: Any) -> Callable[[list[Tensor]], Any]:
    """Build one of theirs that keeps its state in the parameters' dtype."""
    return lambda params: cls(params, storage_dtype=str(params[0].dtype).removeprefix("torch."), **options)


def by_kind(cls: type, **options: Any) -> Callable[[list[Tensor]], Any]:
    return lambda params: cls([{"params": params, "kind": "matrix"}], **options)


@each_dtype
def test_adamw(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    common = {**DECAY, "betas": (0.9, 0.98), **NO_EPS}
    ours, theirs = partial(ultra_optim.AdamW, **common), peer(heavyball.AdamW, **common)
    assert follow(ours, theirs, SHAPES, formula=False, dtype=dtype) < EXACT[dtype]


@pytest.mark.parametrize("bounded", [False, True])
def test_adamw_adds_eps_where_heavyball_bounds_by_it(
    follow: Follow, heavyball: ModuleType, bounded: bool
) -> None:
    b1, b2 = betas = (0.9, 0.98)

    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        t = state["t"] = state.get("t", 0) + 1
        m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
        v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
        root = (v / (1 - b2**t)).sqrt()
        u = m / (1 - b1**t) / (root.clamp(min=0.5) if bounded else root + 0.5)
        return KEEP * p - 0.01 * u

    common = {**DECAY, "betas": betas, "eps": 0.5}
    ours, theirs = partial(ultra_optim.AdamW, **common), peer(heavyball.AdamW, **common)
    assert follow(theirs if bounded else ours, formula, SHAPES) < CLOSE
    assert follow(ours if bounded else theirs, formula, SHAPES) > 1e-3


@each_dtype
def test_corrected_decay(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    """Their AdamC is our decay rule; both divide by the largest rate, here twice the present one."""

    def ours(params: list[Tensor]) -> Any:
        optimizer = ultra_optim.AdamW(params, **DECAY | {"lr": 0.02}, **NO_EPS, decay_rule="corrected")
        optimizer.param_groups[0]["lr"] = 0.01
        return optimizer

    theirs = peer(heavyball.AdamC, **DECAY, betas=(0.9, 0.999), max_lr=0.02, **NO_EPS)
    assert follow(ours, theirs, SHAPES, formula=False, dtype=dtype) < EXACT[dtype]


@each_dtype
def test_sgd_momentum(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    """Without decay: theirs is decoupled, ours is torch's, added to the gradient."""
    theirs = peer(heavyball.SGD, lr=0.01, beta=0.9)
    ours = partial(ultra_optim.SGDMomentum, lr=0.01, momentum=0.9)
    assert follow(ours, theirs, SHAPES, formula=False, dtype=dtype) < EXACT[dtype]


@each_dtype
def test_cautious_adamw(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    common = {**DECAY, "betas": (0.9, 0.98), **NO_EPS}
    theirs = peer(heavyball.AdamW, caution=True, **common)
    ours = partial(ultra_optim.CautiousAdamW, **common)
    assert follow(ours, theirs, SHAPES, formula=False, dtype=dtype) < EXACT[dtype]


@pytest.mark.parametrize("theirs", [False, True])
def test_mars_adamw_weighs_and_clips_the_correction_where_heavyball_does_not(
    follow: Follow, heavyball: ModuleType, theirs: bool
) -> None:
    """The paper has gamma b1 / (1 - b1); HeavyBall hands b1 and gamma over in each other's place."""
    common = {**DECAY, "betas": (0.9, 0.98), **NO_EPS}
    rival = peer(heavyball.AdamW, mars=True, mars_gamma=0.025, **common)
    ours = partial(ultra_optim.MARSAdamW, gamma=0.025, **common)

    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        missing = 1 - 0.025 if theirs else 1 - 0.9
        c = g + 0.025 * 0.9 / missing * (g - state.get("g", torch.zeros_like(g)))
        state["g"] = g
        if not theirs:
            c = c / max(1.0, float(c.norm()))
        t = state["t"] = state.get("t", 0) + 1
        m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * c
        v = state["v"] = 0.98 * state.get("v", 0) + 0.02 * c**2
        return KEEP * p - 0.01 * m / (1 - 0.9**t) / (v / (1 - 0.98**t)).sqrt()

    follows, other = (rival, ours) if theirs else (ours, rival)
    assert follow(follows, formula, MATRICES) < CLOSE
    assert follow(other, formula, MATRICES) > 1e-3


@pytest.mark.parametrize("theirs", [False, True])
def test_adopt_clips_and_does_not_correct_where_heavyball_corrects_and_does_not_clip(
    follow: Follow, heavyball: ModuleType, theirs: bool
) -> None:
    """HeavyBall divides m and v by what is missing at their start, and takes u as it is."""
    betas = (0.9, 0.99)
    ours = partial(ultra_optim.ADOPT, **DECAY, betas=betas, eps=1e-6)
    rival = peer(heavyball.ADOPT, **DECAY, betas=betas, eps=1e-6)

    def corrected(p: Tensor, g: Tensor, state: dict) -> Tensor:
        t = state["t"] = state.get("t", -1) + 1
        if t == 0:
            state["v"] = g**2
            return p
        u = g / torch.clamp(state["v"].sqrt(), min=1e-6)
        keep = [1 - (1 - b) / (1 - b**n) for b, n in ((0.9, t), (0.99, t + 1))]
        m = state["m"] = keep[0] * state.get("m", 0) + (1 - keep[0]) * u
        state["v"] = keep[1] * state["v"] + (1 - keep[1]) * g**2
        return KEEP * p - 0.01 * m

    paper = partial(adam_family.adopt, **DECAY, betas=betas, eps=1e-6)
    assert follow(rival if theirs else ours, corrected if theirs else paper, SHAPES) < CLOSE
    assert follow(ours if theirs else rival, corrected if theirs else paper, SHAPES) > 1e-3


@each_dtype
def test_ademamix(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    """Without warm-up; it shows that the slow average is not corrected for its start."""
    common = {**DECAY, "betas": (0.9, 0.99, 0.999), "alpha": 5.0, **NO_EPS}
    ours = partial(ultra_optim.AdEMAMix, **common, t_alpha_beta3=0)
    assert follow(ours, peer(heavyball.AdEMAMix, **common), SHAPES, formula=False, dtype=dtype) < EXACT[dtype]


@each_dtype
def test_schedulefree_adamw(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    common = {**DECAY, "betas": (0.9, 0.98), "r": 1.0, **NO_EPS}
    ours = partial(ultra_optim.ScheduleFreeAdamW, **common)
    assert follow(ours, peer(heavyball.SFAdamW, **common), SHAPES, formula=False, dtype=dtype) < EXACT[dtype]


THEIR_STEPS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


def polar_factor(matrix: Tensor, coefficients: Any) -> Tensor:
    tall = matrix.shape[0] > matrix.shape[1]
    x = orthogonalize((matrix.mT if tall else matrix)[None], coefficients=coefficients)[0]
    return x.mT if tall else x


def test_muon_has_jordans_coefficients_where_heavyball_has_its_own(
    follow: Follow, heavyball: ModuleType
) -> None:
    """And looks ahead by mu B + (1 - mu) G, HeavyBall by B + G; the scale is that of ``original``."""

    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        b = state["b"] = 0.95 * state.get("b", 0) + 0.05 * g
        scale = math.sqrt(max(1, p.shape[0] / p.shape[1]))
        return KEEP * p - 0.01 * scale * polar_factor(b + g, THEIR_STEPS)

    theirs = peer(heavyball.Muon, **DECAY, betas=(0.95, 0.99))
    assert follow(theirs, formula, MATRICES) < CLOSE
    ours = by_kind(ultra_optim.Muon, **DECAY, momentum=0.95, adjust_lr_fn="original")
    assert follow(ours, formula, MATRICES) > 1e-3


@pytest.fixture
def same_iteration(heavyball: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """HeavyBall with the iteration of the reference."""
    monkeypatch.setattr(
        heavyball.utils, "zeropower_via_newtonschulz5", lambda g, steps: muon.newton_schulz(g, steps)
    )


@pytest.mark.usefixtures("same_iteration")
@each_dtype
def test_muon_with_the_same_iteration(follow: Follow, heavyball: ModuleType, dtype: torch.dtype) -> None:
    theirs = peer(heavyball.Muon, **DECAY, betas=(0.95, 0.99), nesterov=False)
    ours = by_kind(ultra_optim.Muon, **DECAY, momentum=0.95, nesterov=False, adjust_lr_fn="original")
    assert follow(ours, theirs, MATRICES, formula=False, dtype=dtype) < 50 * EXACT[dtype]


@each_dtype
def test_turbo_muon_with_the_same_iteration(
    follow: Follow, heavyball: ModuleType, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """HeavyBall has momentum, scale and decay; the iteration is that of the reference."""
    theirs = peer(heavyball.Muon, **DECAY, betas=(0.95, 0.99), nesterov=False)
    ours = by_kind(ultra_optim.TurboMuon, **DECAY, momentum=0.95, nesterov=False, adjust_lr_fn="original")
    assert follow(ours, theirs, MATRICES, formula=False) > 1e-3
    monkeypatch.setattr(heavyball.utils, "zeropower_via_newtonschulz5", lambda g, steps: muon.turbo(g))
    assert follow(ours, theirs, MATRICES, formula=False, dtype=dtype) < 50 * EXACT[dtype]


@pytest.mark.usefixtures("same_iteration")
@pytest.mark.parametrize("theirs", [False, True])
def test_mars_muon_weighs_and_clips_the_correction_where_heavyball_does_not(
    follow: Follow, heavyball: ModuleType, theirs: bool
) -> None:
    """As for MARS-AdamW above."""
    rival = peer(heavyball.Muon, mars=True, mars_gamma=0.025, **DECAY, betas=(0.9, 0.98), nesterov=False)
    ours = by_kind(ultra_optim.MARSMuon, **DECAY, gamma=0.025, momentum=0.9, adjust_lr_fn="original")

    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        missing = 1 - 0.025 if theirs else 1 - 0.9
        c = g + 0.025 * 0.9 / missing * (g - state.get("g", torch.zeros_like(g)))
        state["g"] = g
        if not theirs:
            c = c / max(1.0, float(c.norm()))
        b = state["b"] = 0.9 * state.get("b", 0) + 0.1 * c
        return KEEP * p - 0.01 * math.sqrt(max(1, p.shape[0] / p.shape[1])) * muon.newton_schulz(b)

    follows, other = (rival, ours) if theirs else (ours, rival)
    assert follow(follows, formula, MATRICES) < 50 * CLOSE
    assert follow(other, formula, MATRICES) > 1e-3


@pytest.mark.usefixtures("same_iteration")
@pytest.mark.parametrize("unconstrained", [False, True])
def test_scion_starts_from_the_weights_that_heavyball_replaces(
    follow: Follow, heavyball: ModuleType, monkeypatch: pytest.MonkeyPatch, unconstrained: bool
) -> None:
    """Its constraint is a decay of 1; its first step puts orthogonal matrices where the weights were."""
    theirs = peer(
        heavyball.Scion, lr=0.01, betas=(0.9, 0.99), scale=3.0, weight_decay=0.0 if unconstrained else 1.0
    )
    ours = by_kind(ultra_optim.Scion, lr=0.01, momentum=0.1, radius=3.0, unconstrained=unconstrained)
    assert follow(ours, theirs, MATRICES, formula=False) > 0.1
    monkeypatch.setattr(heavyball.utils, "scion_auto_init_param_", lambda *_, **__: None)
    assert follow(ours, theirs, MATRICES, formula=False) < CLOSE


def test_soap(follow: Follow, heavyball: ModuleType) -> None:
    """HeavyBall keeps the order of the eigenvectors, corrects L and R for their start, which scales them
    alone, and lifts their eigenvalues by 1e-8 of the largest, hence the tolerance."""
    common = {**DECAY, "betas": (0.9, 0.95), "shampoo_beta": 0.9, "precondition_frequency": 1, **NO_EPS}
    theirs = peer(heavyball.SOAP, **common, merge_dims=False)
    ours = by_kind(ultra_optim.SOAP, **common)
    assert follow(ours, theirs, SQUARES, formula=False) < 1e-6


def test_soap_refreshes_a_step_later(follow: Follow, heavyball: ModuleType) -> None:
    """As its authors do, the interval is counted from the first step that moves; HeavyBall counts the one
    before too."""
    common = {**DECAY, "betas": (0.9, 0.95), "shampoo_beta": 0.9, "precondition_frequency": 4}
    theirs = peer(heavyball.SOAP, **common, merge_dims=False)
    paper = partial(preconditioned.soap, **common, eps=1e-8)
    assert follow(by_kind(ultra_optim.SOAP, **common), paper, SQUARES) < 1e-8
    assert follow(theirs, paper, SQUARES, steps=3) < 1e-6
    assert follow(theirs, paper, SQUARES, steps=6) > 1e-3


@pytest.mark.parametrize("theirs", [False, True])
def test_psgd_kron_clips_the_mean_square_where_heavyball_squashes_elements(
    follow: Follow, heavyball: ModuleType, monkeypatch: pytest.MonkeyPatch, theirs: bool
) -> None:
    """With factors that stay the identity; their updates follow different versions of the method."""

    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        t = state["t"] = state.get("t", 0) + 1
        m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
        u = m / (1 - 0.9**t)
        if theirs:
            x = u / 1.5
            u = (1.5 * (0.9 * x.tanh() + 0.1 * x.sign() * x.abs().log1p())).clamp(-2, 2)
        else:
            u = u * min(1.0, 1.1 / float(u.square().mean().sqrt()))
        return KEEP * p - 0.01 * u

    still = {"anneal_start": 0, "anneal_decay": 100.0, "min_update_probability": 1e-9}
    ours = by_kind(ultra_optim.PSGDKron, **DECAY, momentum=0.9, **still)
    rival = peer(
        heavyball.PSGDKron, **DECAY, beta=0.9, preconditioner_update_probability=0.0, precond_init_scale=1.0
    )
    monkeypatch.setattr(heavyball.utils, "warn_once", lambda text: None)  # of the scale
    follows, other = (rival, ours) if theirs else (ours, rival)
    assert follow(follows, formula, MATRICES) < CLOSE
    assert follow(other, formula, MATRICES) > 1e-3
