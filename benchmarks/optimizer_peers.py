"""The peers of ``optimizers.py``: the same methods in pytorch_optimizer, HeavyBall and torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import heavyball
import pytorch_optimizer
import torch
from torch import Tensor
from torch.optim import Optimizer

Kinds = Mapping[str, Sequence[Tensor]]
"""Parameters of hidden matrices (``matrix``) and all others (``other``)."""

RATE = 1e-4


def everything(kinds: Kinds) -> list[Tensor]:
    return [*kinds["matrix"], *kinds["other"]]


def plain(cls: Any, **options: Any) -> Callable[[Kinds], Optimizer]:
    """Treat all parameters alike, as the class does by itself."""
    return lambda kinds: cls(everything(kinds), lr=RATE, **options)


def split(cls: Any) -> Callable[[Kinds], Optimizer]:
    """Mark the hidden matrices, as pytorch_optimizer's Muon family asks for."""
    return lambda kinds: cls(
        [{"params": list(kinds[kind]), "use_muon": kind == "matrix"} for kind in ("matrix", "other")], lr=RATE
    )


def low_rank(cls: Any, **options: Any) -> Callable[[Kinds], Optimizer]:
    """Give the hidden matrices a rank, as pytorch_optimizer's low-rank methods ask for."""
    return lambda kinds: cls(
        [{"params": list(kinds["matrix"]), **options}, {"params": list(kinds["other"])}], lr=RATE
    )


def torch_muon(kinds: Kinds) -> Optimizer:
    """torch's Muon, for hidden matrices alone: its AdamW part is left out."""
    return torch.optim.Muon(list(kinds["matrix"]), lr=RATE)


PO: dict[str, Callable[[Kinds], Optimizer]] = {
    "adafactor": plain(pytorch_optimizer.AdaFactor, relative_step=False),
    "adamuon": split(pytorch_optimizer.AdaMuon),
    "adamw": plain(pytorch_optimizer.load_optimizer("adamw")),
    "adan": plain(pytorch_optimizer.Adan),
    "ademamix": plain(pytorch_optimizer.AdEMAMix),
    "adopt": plain(pytorch_optimizer.ADOPT),
    "apollo": low_rank(pytorch_optimizer.APOLLO, rank=96, update_proj_gap=200, scale=1.0),
    "came": plain(pytorch_optimizer.CAME),
    "galore_adamw": low_rank(pytorch_optimizer.GaLore, rank=128, update_proj_gap=200, scale=0.25),
    "lamb": plain(pytorch_optimizer.Lamb),
    "lion": plain(pytorch_optimizer.Lion),
    "mars_adamw": plain(pytorch_optimizer.MARS),
    "muon": split(pytorch_optimizer.Muon),
    "normuon": split(pytorch_optimizer.NorMuon),
    "prodigy": plain(pytorch_optimizer.Prodigy),
    "psgd_kron": plain(pytorch_optimizer.Kron),
    "radam": plain(pytorch_optimizer.RAdam),
    "schedulefree_adamw": plain(pytorch_optimizer.ScheduleFreeAdamW),
    "scion": plain(pytorch_optimizer.SCION),
    "shampoo": plain(pytorch_optimizer.ScalableShampoo),
    "soap": plain(pytorch_optimizer.SOAP),
    "stable_adamw": plain(pytorch_optimizer.StableAdamW),
}
"""pytorch_optimizer's classes by our names."""

HB: dict[str, Callable[[Kinds], Optimizer]] = {
    "adamw": plain(heavyball.AdamW),
    "ademamix": plain(heavyball.AdEMAMix),
    "adopt": plain(heavyball.ADOPT),
    "muon": plain(heavyball.Muon),
    "psgd_kron": plain(heavyball.PSGDKron),
    "schedulefree_adamw": plain(heavyball.SFAdamW),
    "scion": plain(heavyball.Scion),
    "soap": plain(heavyball.SOAP),
}
"""HeavyBall's classes by our names; see :func:`compile_peers`."""

TORCH: dict[str, Callable[[Kinds], Optimizer]] = {
    "adafactor": plain(torch.optim.Adafactor),
    "adamw": plain(torch.optim.AdamW, fused=True),
    "muon": torch_muon,
    "radam": plain(torch.optim.RAdam),
    "sgd_momentum": plain(torch.optim.SGD, momentum=0.9, fused=True),
}
"""torch's classes by our names."""


def compile_peers(compiled: bool) -> None:
    """Let HeavyBall compile its updates or not; its own default tunes for minutes on a CPU."""
    heavyball.utils.compile_mode = "default" if compiled else None


PEERS = {"pytorch_optimizer": PO, "heavyball": HB, "torch": TORCH}
