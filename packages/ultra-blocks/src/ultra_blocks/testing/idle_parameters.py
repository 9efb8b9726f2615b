"""Rules about parameters that get no gradient, or of which some slice gets none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import BlockCase, gradients, noise, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.parameters import check_description, described
from ultra_core.contracts import ParamInfo
from ultra_core.errors import listed
from ultra_core.testing import Finding

SLICED = frozenset({"matrix", "gate", "router", "conv"})
"""Kinds of parameters of which every row, column or tap takes part; a row of a table may be rare."""

MOST_EXPERTS = 8
"""The number of experts up to which each of them gets some of the tokens of a long row."""


UNUSED = "use it in `forward` (and not under `torch.no_grad()` or `detach()`), or remove it"


def idle(module: nn.Module, y: Tensor, losses: Iterable[Tensor] = (), *, slices: bool = True) -> list[str]:
    """Return trained parameters, or slices of them, on which neither an output nor a loss depends.

    Args:
        module: the plugin.
        y: an output that is computed from many tokens.
        losses: auxiliary losses of the same call.
        slices: whether to name slices of parameters whose other elements do get a gradient.
    """
    infos = described(module)
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    scalars = [loss for loss in losses if loss.requires_grad]
    total = (y * noise(*y.shape, seed=3).to(y.dtype)).sum() + sum(scalars)
    found = zip(named, gradients(total, total.new_ones(()), list(named.values())), strict=True)
    return [part for name, g in found for part in idle_parts(name, g, infos[name], slices=slices)]


def check_trained(
    module: nn.Module,
    y: Tensor,
    losses: Iterable[Tensor] = (),
    *,
    given: str,
    slices: bool = True,
    fix: str = UNUSED,
) -> None:
    """Raise a finding if parameters, or slices of them, get no gradient.

    Raises:
        Finding: some get none; ``given`` says from which input.
    """
    if parts := idle(module, y, losses, slices=slices):
        raise Finding(
            f"{listed(parts)} {'gets' if len(parts) == 1 else 'get'} no gradient from {given}", fix=fix
        )


def idle_parts(name: str, gradient: Tensor, info: ParamInfo | None, *, slices: bool = True) -> Iterator[str]:
    """Yield the parameter with its shape if its gradient is zero, or the first slice of which it is."""
    shape = tuple(gradient.shape)
    if not gradient.numel():
        return
    if not gradient.any():
        yield f"{name} {shape}"
    elif slices:
        for dim in _dimensions(gradient, info):
            others = [other for other in range(gradient.ndim) if other != dim]
            still = gradient.abs().amax(others) == 0
            if still.any():
                place = ", ".join(
                    [":"] * dim + [str(int(still.long().argmax()))] + [":"] * (len(others) - dim)
                )
                yield f"{name}[{place}] of {shape}"
                return


def _dimensions(gradient: Tensor, info: ParamInfo | None) -> Iterable[int]:
    """Return the dimensions along which every slice takes part."""
    if gradient.ndim < 2 or info is None:
        return ()
    if info.kind == "expert":
        dim = info.expert_dim
        return () if dim is None or gradient.shape[dim] > MOST_EXPERTS else (dim,)
    return range(gradient.ndim) if info.kind in SLICED else ()


@BLOCK_RULES("B15b", least="quick")
def roles(case: BlockCase) -> None:
    """Every parameter has a role and gets a gradient; row blocks add up to the rows of their matrix.

    So does every row and column of a matrix, every tap of a convolution, and every one of a few experts.

    Fix: ``Mixer.parameter_info`` describes every parameter, and a plain module leaves it to the types of its
    modules; an override extends ``super().parameter_info()``. Remove a parameter that ``forward`` does not
    use.
    """
    module = case.build()
    check_description(module)
    g = torch.Generator().manual_seed(0)
    # long enough for attention between blocks of 32 tokens
    x = torch.randn(2, case.length(67), case.hidden_size, generator=g, dtype=torch.float64)
    check_trained(module, output(module, x, None), given=f"an input {tuple(x.shape)}")
