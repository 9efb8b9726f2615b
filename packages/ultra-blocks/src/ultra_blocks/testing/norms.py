"""The rules of norms."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import nn

from ultra_blocks.testing.cases import NormCase, noise
from ultra_blocks.testing.construction import NORM_RULES
from ultra_blocks.testing.differences import check_close, check_finite
from ultra_blocks.testing.exactness import check_answer, named_gradients
from ultra_blocks.testing.finite_differences import check_gradients, check_precision
from ultra_blocks.testing.idle_parameters import check_trained
from ultra_blocks.testing.parameters import check_description, check_drawing, check_saving, described
from ultra_core.testing import Finding

SEEDS = st.integers(0, 999)


@NORM_RULES("N1", draw=SEEDS)
def last_dimension(case: NormCase, seed: int) -> None:
    """A norm acts on the last dimension only: the output of a token does not depend on other tokens.

    Fix: reduce over the last dimension only, ``x.mean(-1, keepdim=True)``.
    """
    module, x = case.build(), noise(2, 5, case.hidden_size, seed=seed)
    y = module(x)
    check_answer(y, x)
    alone = torch.stack([torch.stack([module(token) for token in row]) for row in x])
    check_close(y, alone, case.allows(1e-14), other="of the token alone")


@NORM_RULES("N2", draw=st.tuples(SEEDS, st.sampled_from([0.0, 1e-4, 1.0, 1e4])))
def norm_finiteness(case: NormCase, drawn: tuple[int, float]) -> None:
    """Outputs and gradients are finite in every dtype, for zeros (as at padding) and for large inputs.

    Fix: add ``eps`` inside the root, ``torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)``, compute
    in at least fp32, and return the dtype of the input.
    """
    seed, scale = drawn
    tokens = scale * noise(2, 5, case.hidden_size, seed=seed)
    exact = case.build()(tokens)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        module, x = (
            case.build(dtype),
            (scale * noise(2, 5, case.hidden_size, seed=seed)).to(dtype).requires_grad_(),
        )
        y = module(x)
        check_answer(y, x)
        found = {"output": y, **named_gradients(module, y, torch.ones_like(y), [x], ["the input"])}
        check_finite(found, f"input scale {scale:g}, {dtype}")
        if scale:
            check_close(y, exact, 5e-2, other="in fp64", note=f"input scale {scale:g}, {dtype}")


@NORM_RULES("N3", draw=SEEDS, examples=3)
def norm_gradients(case: NormCase, seed: int) -> None:
    """Gradients agree with finite differences in fp64.

    Fix: do not detach the statistics: gradients flow through the mean and the root, too.
    """
    module = case.build()
    x = noise(3, case.hidden_size, seed=seed)
    check_gradients(case, module, x, module)
    check_precision(case, module, x, module)


@NORM_RULES("N4")
def norm_parameters(case: NormCase) -> None:
    """Parameters are in the state dict and have the role norms; initialisation follows the global seed.

    Each of them gets a gradient.

    Fix: derive from ``ultra_blocks.norms.base.Norm``, or name the vectors ``weight`` and ``bias`` as torch
    does, or describe them: ``parameter_info()`` returns ``{"gain": ParamInfo(role="norms", kind="vector",
    decay=False)}``.
    """
    module: nn.Module = case.build()
    x = noise(3, case.hidden_size)
    check_description(module)
    roles = {name: info.role if info is not None else "other" for name, info in described(module).items()}
    for name, role in roles.items():
        if role != "norms":
            raise Finding(f"{name} has the role {role!r}, not 'norms'")
    check_close(check_saving(case)(x), module(x), 0.0, what="loaded, output", other="before saving")
    check_drawing(case)
    check_trained(module, module(x), given=f"an input {tuple(x.shape)}")
