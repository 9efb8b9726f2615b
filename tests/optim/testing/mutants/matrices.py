"""Matrix methods that take a fused or stacked tensor for one matrix, or the wrong side for the longer one."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import torch
from optim.testing.sound_methods import SoundMuon
from torch import Tensor


class TakesAFusedMatrixForOne(SoundMuon):
    def layout(self, p: Tensor, group: dict[str, Any]) -> tuple[list[int], int | None]:
        return [], super().layout(p, group)[1]


class TakesTheFactorOfTheFusedMatrix(SoundMuon):
    """Each block is orthogonalised by itself, but its size is that of the whole."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        self.longest = max(p.shape)
        super().move(p, grad, group)

    def factor(self, rows: int, columns: int) -> float:
        return 0.2 * math.sqrt(self.longest)


class ReversesTheBlocks(SoundMuon):
    """Right for blocks of equal sizes."""

    def layout(self, p: Tensor, group: dict[str, Any]) -> tuple[list[int], int | None]:
        blocks, expert_dim = super().layout(p, group)
        return blocks[::-1], expert_dim


class CutsIntoEqualBlocks(SoundMuon):
    """Right for as many heads of keys as of queries."""

    def layout(self, p: Tensor, group: dict[str, Any]) -> tuple[list[int], int | None]:
        blocks, expert_dim = super().layout(p, group)
        even = len(blocks) > 0 and len(p) % len(blocks) == 0
        return [len(p) // len(blocks)] * len(blocks) if even else blocks, expert_dim


class CountsExpertsInTheFirstDimension(SoundMuon):
    def layout(self, p: Tensor, group: dict[str, Any]) -> tuple[list[int], int | None]:
        blocks, expert_dim = super().layout(p, group)
        return blocks, None if expert_dim is None else 0


class FlattensExperts(SoundMuon):
    """All experts are one matrix with very long columns."""

    def in_parts(
        self, t: Tensor, blocks: list[int], expert_dim: int | None, do: Callable[[Tensor], Any]
    ) -> None:
        if expert_dim is None:
            super().in_parts(t, blocks, None, do)
            return
        flat = t.reshape(-1, t.shape[-1]).clone()
        do(flat)
        t.copy_(flat.view(t.shape))


class TakesWideForTall(SoundMuon):
    """Its own factor would be the square root of max(1, rows / columns)."""

    traits: ClassVar = attrs.evolve(SoundMuon.traits, imitates=None)

    def factor(self, rows: int, columns: int) -> float:
        return math.sqrt(max(1.0, columns / rows))


class DividesByTheLongerSide(SoundMuon):
    traits: ClassVar = attrs.evolve(SoundMuon.traits, imitates=None)

    def factor(self, rows: int, columns: int) -> float:
        return 1 / max(rows, columns)


class ClaimsAnotherFactor(SoundMuon):
    traits: ClassVar = attrs.evolve(SoundMuon.traits, shape_factor="spectral")


class LeavesTheOthersUncorrected(SoundMuon):
    """The AdamW part has no bias correction."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])


class TakesEmbeddingsForMatrices(SoundMuon):
    def treats(self, group: dict[str, Any]) -> bool:
        return super().treats(group) or group["kind"] == "embedding"


class DecaysMatricesOnly(SoundMuon):
    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if self.treats(group):
            super().decay(p, state, group)


class GivesTheMomentumToBoth(SoundMuon):
    """The AdamW part takes the momentum of matrices for its first decay rate."""

    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        super().average(state, grad, {**group, "betas": (group["momentum"], group["betas"][1])})


class LosesTheSignsOfOthers(SoundMuon):
    """The AdamW part is Lion without knowing it."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return torch.sign(state["exp_avg"])


MUTANTS = [
    ("O22", TakesAFusedMatrixForOne),
    ("O22", TakesTheFactorOfTheFusedMatrix),
    ("O22", ReversesTheBlocks),
    ("O22", CutsIntoEqualBlocks),
    ("O22", CountsExpertsInTheFirstDimension),
    ("O22", FlattensExperts),
    ("O23", TakesWideForTall),
    ("O23", DividesByTheLongerSide),
    ("O23", ClaimsAnotherFactor),
    ("O24", LeavesTheOthersUncorrected),
    ("O24", TakesEmbeddingsForMatrices),
    ("O24", DecaysMatricesOnly),
    ("O24", GivesTheMomentumToBoth),
    ("O24", LosesTheSignsOfOthers),
]
