"""Options that do not do what they say."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from blocks.testing.sound import Gate, Sound
from torch import Tensor, nn

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.norms.layer_norm import LayerNorm
from ultra_blocks.positions import PositionCode
from ultra_blocks.positions.rope import RoPE
from ultra_core.contracts import Range


class IgnoresHeads(Sound):
    """The number of heads is stored, and one head is computed."""

    def split(self, x: Tensor) -> Tensor:
        return x[:, None]


class IgnoresTheWindow(Sound):
    def allowed(self, layout: Layout) -> Tensor:
        self.window, kept = None, self.window
        allowed = super().allowed(layout)
        self.window = kept
        return allowed


class SwallowsTheWindow(Sound):
    """The window is in the signature, and the parent never gets it."""

    def __init__(
        self, hidden_size: int, *, num_heads: int = 2, causal: bool = False, window: int | None = None
    ):
        super().__init__(hidden_size, num_heads=num_heads, causal=causal)


class HasTwoNamesForOneGate(Sound):
    def opening(self, x: Tensor) -> Tensor:
        return torch.tanh(x) if self.gate == "tanh" else torch.sigmoid(x)


class HardCodesEps(Sound):
    def normalise(self, y: Tensor) -> Tensor:
        self.eps, kept = 1e-6, self.eps
        y = super().normalise(y)
        self.eps = kept
        return y


class IgnoresDropout(Sound):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, rows: slice) -> Tensor:
        self.dropout, kept = 0.0, self.dropout
        y = super().attend(q, k, v, layout, rows)
        self.dropout = kept
        return y


class KeepsTheFirstGate(Sound):
    """The first block that is built decides for all later ones."""

    chosen: ClassVar[list[Gate]] = []

    def opening(self, x: Tensor) -> Tensor:
        self.chosen.append(self.gate)
        self.gate = self.chosen[0]
        return super().opening(x)


class TakesZeroForNone(Sound):
    """``strength or 1.0`` makes a strength of zero the default."""

    def __init__(
        self, hidden_size: int, *, causal: bool = False, strength: Annotated[float, Range(min=0)] = 1.0
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        self.strength = strength or 1.0

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, rows: slice) -> Tensor:
        return super().attend(self.strength * q, k, v, layout, rows)


class ChunksOtherwise(Sound):
    """``chunk_size``, said to change only speed, is part of the result from the second chunk on."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, rows: slice) -> Tensor:
        y = super().attend(q, k, v, layout, rows)
        return y * 1.001 if rows.start else y


class SaysNothingOfSpeed(Sound):
    """``chunk_size`` changes only speed, and the traits do not say so."""

    traits: ClassVar[Traits] = Traits(symmetric=True)


class BuildsAnIdleNorm(Sound):
    """The norm that an option asks for is built and has parameters, and is never called."""

    def __init__(self, hidden_size: int, *, causal: bool = False, qk_norm: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.q_norm = nn.LayerNorm(hidden_size) if qk_norm else None


class FailsWithAnOption(Sound):
    """The constructor accepts what ``forward`` cannot compute."""

    def __init__(self, hidden_size: int, *, causal: bool = False, halve: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.halve = halve

    def normalise(self, y: Tensor) -> Tensor:
        return super().normalise(y.unflatten(-1, (2, 7)).flatten(-2) if self.halve else y)


class ClampsItAway(Sound):
    """The strength is clamped to a range of one number."""

    def __init__(self, hidden_size: int, *, causal: bool = False, strength: float = 1.0) -> None:
        super().__init__(hidden_size, causal=causal)
        self.strength = min(max(strength, 1.0), 1.0)

    def normalise(self, y: Tensor) -> Tensor:
        return self.strength * super().normalise(y)


class NamesAFile(Sound):
    """No value of the option can be guessed, and none is declared."""

    def __init__(self, hidden_size: int, *, causal: bool = False, table: str = "") -> None:
        super().__init__(hidden_size, causal=causal)


class IgnoresOptionsOfPositions(StandardAttention):
    """Of ``{"rope": {"base": 7.0}}``, only the name is used."""

    def __init__(
        self, hidden_size: int, *, num_heads: int = 2, causal: bool = False, positions: Any = "rope"
    ):
        name = positions if isinstance(positions, str) else next(iter(positions))
        super().__init__(hidden_size, num_heads=num_heads, causal=causal, positions=name)


class IgnoresTheActivation(MLP):
    def __init__(
        self, hidden_size: int, ffn_hidden_size: int, *, activation: Literal["gelu", "relu"] = "gelu"
    ) -> None:
        super().__init__(hidden_size, ffn_hidden_size, activation="gelu")

    variations: ClassVar[dict[str, Any]] = {}


class DropsNothing(MLP):
    """The FFN keeps the rate of dropout, and the module that drops is the identity."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int, *, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.rate = dropout


class NormHardCodesEps(LayerNorm):
    def __init__(self, hidden_size: int, *, eps: Annotated[float, Range(gt=0)] = 1e-5) -> None:
        super().__init__(hidden_size)


class IgnoresTheBase(RoPE):
    def __init__(self, head_dim: int, *, base: Annotated[float, Range(gt=0)] = 10000.0) -> None:
        super().__init__(head_dim)


class HasOneSlope(PositionCode):
    """All heads have the slope of the first, whatever their number."""

    kind = "bias"
    symmetric = True

    def __init__(self, num_heads: int, *, strength: float = 1.0) -> None:
        super().__init__()
        self.num_heads = num_heads

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        distance = (layout.positions[:, None] - layout.positions[..., None]).abs()
        return -distance[:, None].to(dtype).expand(-1, self.num_heads, -1, -1)


class ClampsTheHeads(Sound):
    """More than two heads are two."""

    def __init__(self, hidden_size: int, *, num_heads: int = 2, causal: bool = False) -> None:
        super().__init__(hidden_size, num_heads=min(num_heads, 2), causal=causal)


class CutsTheKernel(Sound):
    """Taps of the kernel beyond the third have parameters, and are never used."""

    def __init__(self, hidden_size: int, *, kernel_size: int = 3, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.mix = nn.Linear(kernel_size, hidden_size, bias=False)

    def opening(self, x: Tensor) -> Tensor:
        return super().opening(x) * self.mix.weight[:, :3].sum(-1)


class LooksFurtherBack(Sound):
    """The window has a token less on the right."""

    def allowed(self, layout: Layout) -> Tensor:
        ahead = layout.positions[:, None] - layout.positions[:, :, None]
        allowed = super().allowed(layout)
        return allowed if self.window is None else allowed & (ahead < self.window)


BLOCKS = [
    IgnoresHeads,
    IgnoresTheWindow,
    SwallowsTheWindow,
    HasTwoNamesForOneGate,
    HardCodesEps,
    IgnoresDropout,
    KeepsTheFirstGate,
    TakesZeroForNone,
    ChunksOtherwise,
    SaysNothingOfSpeed,
    BuildsAnIdleNorm,
    FailsWithAnOption,
    ClampsItAway,
    NamesAFile,
    IgnoresOptionsOfPositions,
    ClampsTheHeads,
    CutsTheKernel,
]
OTHERS = [IgnoresTheActivation, DropsNothing, NormHardCodesEps, IgnoresTheBase, HasOneSlope]

MUTANTS: list[tuple[Any, ...]] = [*(("U2", cls) for cls in (*BLOCKS, *OTHERS)), ("B4d", LooksFurtherBack)]
