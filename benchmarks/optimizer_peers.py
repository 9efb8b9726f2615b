"""The peers of ``optimizers.py``: the same methods in pytorch_optimizer, HeavyBall and torch.

Methods for hidden matrices get these alone and fused AdamW the rest, as ours do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import heavyball
import pytorch_optimizer as po
import torch
from optimizer_sides import Parts, Steps
from torch import Tensor

RATE = 1e-4
NEVER = 10**9
"""Number of steps between two refreshes of a method that should not refresh while it is timed."""


@attrs.frozen
class Peer:
    """How to build a peer.

    Attributes:
        make: builds it from the parts of a model and options.
        layers: on a CPU it is timed on this many layers, whose matrices it takes one by one: bfloat16
            products, and factors of large matrices, are slow there.
    """

    make: Callable[..., Steps]
    layers: int | None = None


class Both:
    """A method for matrices, and fused AdamW for all other parameters."""

    def __init__(self, method: torch.optim.Optimizer, others: list[Tensor]) -> None:
        self.optimizers = [method]
        if others:
            self.optimizers.append(torch.optim.AdamW(others, lr=RATE, fused=True))
        self.param_groups = [group for each in self.optimizers for group in each.param_groups]

    def step(self) -> None:
        """Take a step of both."""
        for each in self.optimizers:
            each.step()


class Sophia(po.SophiaH):
    """pytorch_optimizer's Sophia with a curvature that is given to it, once."""

    def step(self) -> None:  # type: ignore[override]
        """Take a step."""
        fresh = not self.state
        gradients = (
            [p.grad.square() for group in self.param_groups for p in group["params"]] if fresh else None
        )
        super().step(hessian=gradients)


def plain(cls: Any, **fixed: Any) -> Peer:
    """Update all parameters."""
    return Peer(lambda parts, **options: cls(parts.everything, **{"lr": RATE, **fixed, **options}))


def matrices(cls: Any, *, layers: int | None = None, **fixed: Any) -> Peer:
    """Update the hidden matrices; AdamW updates the rest."""

    def make(parts: Parts, **options: Any) -> Steps:
        return Both(cls(parts.matrices, **{"lr": RATE, **fixed, **options}), parts.others)

    return Peer(make, layers)


def grouped(cls: Any, *, layers: int | None = None, **told: Any) -> Peer:
    """Update the hidden matrices in a group with the options that the class needs; AdamW updates the rest."""

    def make(parts: Parts, **options: Any) -> Steps:
        return Both(cls([{"params": parts.matrices, **told, **options}], lr=RATE), parts.others)

    return Peer(make, layers)


def adam_mini(parts: Parts, **options: Any) -> Steps:
    config = parts.model.config
    return po.AdamMini(parts.model, lr=RATE, num_embeds=config.hidden_size, num_heads=config.num_heads)


LOW_RANK = {"projection_type": "std", "update_proj_gap": 200}
PO: dict[str, Peer] = {
    "adafactor": plain(po.AdaFactor, relative_step=False),
    "adam_mini": Peer(adam_mini),
    "adamuon": grouped(po.AdaMuon, layers=1, use_muon=True),
    "adamw": plain(po.load_optimizer("adamw")),
    "adamw_8bit": plain(po.FlashAdamW),
    "adan": plain(po.Adan),
    "ademamix": plain(po.AdEMAMix),
    "adopt": plain(po.ADOPT),
    "apollo": grouped(po.APOLLO, rank=256, scale=1.0, scale_type="channel", **LOW_RANK),
    "apollo_mini": grouped(po.APOLLO, rank=1, scale=128.0, scale_type="tensor", **LOW_RANK),
    "came": plain(po.CAME),
    "galore_adamw": grouped(po.GaLore, rank=128, scale=0.25, **LOW_RANK),
    "lamb": plain(po.Lamb),
    "lion": plain(po.Lion),
    "mars_adamw": plain(po.MARS),
    "muon": grouped(po.Muon, layers=1, use_muon=True),
    "muonclip": grouped(po.MuonClip, layers=1, use_muon=True),
    "normuon": grouped(po.NorMuon, layers=1, use_muon=True),
    "prodigy": plain(po.Prodigy, lr=1.0),
    "psgd_kron": matrices(po.Kron, layers=1),
    "radam": plain(po.RAdam),
    "schedulefree_adamw": plain(po.ScheduleFreeAdamW),
    "scion": matrices(po.SCION, layers=1),
    "sgd_momentum": plain(po.SGDW, momentum=0.9),
    "shampoo": matrices(po.ScalableShampoo, layers=1, block_size=1024),
    "soap": matrices(po.SOAP, layers=1),
    "sophia": plain(Sophia, update_period=NEVER),
    "stable_adamw": plain(po.StableAdamW),
}
"""pytorch_optimizer's classes by our names; FlashAdamW is its AdamW with 8-bit states."""

HB: dict[str, Peer] = {
    "adamw": plain(heavyball.AdamW),
    "ademamix": plain(heavyball.AdEMAMix),
    "adopt": plain(heavyball.ADOPT),
    "cautious_adamw": plain(heavyball.AdamW, caution=True),
    "mars_adamw": plain(heavyball.AdamW, mars=True),
    "mars_muon": matrices(heavyball.Muon, layers=1, mars=True),
    "muon": matrices(heavyball.Muon, layers=1),
    "psgd_kron": matrices(heavyball.PSGDKron, layers=1),
    "schedulefree_adamw": plain(heavyball.SFAdamW),
    "scion": matrices(heavyball.Scion, layers=1),
    "sgd_momentum": plain(heavyball.SGD),
    "soap": matrices(heavyball.SOAP, layers=1, merge_dims=False),
}
"""HeavyBall's classes by our names; see :func:`prepare`."""

TORCH: dict[str, Peer] = {
    "adafactor": plain(torch.optim.Adafactor),
    "adamw": plain(torch.optim.AdamW, fused=True),
    "muon": matrices(torch.optim.Muon, layers=1),
    "radam": plain(torch.optim.RAdam),
    "sgd_momentum": plain(torch.optim.SGD, momentum=0.9, fused=True),
}
"""torch's classes by our names."""

PEERS: Mapping[str, Mapping[str, Peer]] = {"pytorch_optimizer": PO, "heavyball": HB, "torch": TORCH}


@attrs.frozen
class Refresh:
    """A method that does more work every ``interval`` steps.

    Attributes:
        interval: steps from one refresh to the next, ours in a long run; the peers' too.
        ways: for ``ultra`` and each peer the options that never refresh, and that always do.
    """

    interval: float
    ways: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]


def every(option: str, **others: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the options with and without refreshes, for an option that is a number of steps."""
    return {option: NEVER, **others}, {option: 1, **others}


def low_rank() -> Refresh:
    ways = {"ultra": every("update_interval"), "pytorch_optimizer": every("update_proj_gap")}
    return Refresh(200, ways)


_ANNEALED = {"anneal_start": 0, "anneal_decay": 100.0}
REFRESH: dict[str, Refresh] = {
    "soap": Refresh(
        10,
        {p: every("precondition_frequency") for p in ("ultra", "pytorch_optimizer", "heavyball")},
    ),
    "shampoo": Refresh(
        50,
        {
            "ultra": every("precondition_frequency", start_preconditioning_step=1),
            "pytorch_optimizer": every("preconditioning_compute_steps", start_preconditioning_step=1),
        },
    ),
    "psgd_kron": Refresh(
        1 / 0.03,
        {
            "ultra": (
                {**_ANNEALED, "min_update_probability": 1e-9},
                {**_ANNEALED, "min_update_probability": 1.0},
            ),
            "pytorch_optimizer": (
                {"pre_conditioner_update_probability": 1e-9},
                {"pre_conditioner_update_probability": 1.0},
            ),
            "heavyball": (
                {"preconditioner_update_probability": 1e-9},
                {"preconditioner_update_probability": 1.0},
            ),
        },
    ),
    **{name: low_rank() for name in ("galore_adamw", "apollo", "apollo_mini", "apollo_8bit")},
}
"""Methods that are timed with and without their refreshes."""


def prepare(device: str) -> None:
    """Let HeavyBall compile its updates on an accelerator only; on a CPU it tunes for minutes."""
    heavyball.utils.compile_mode = None if device == "cpu" else "default"
