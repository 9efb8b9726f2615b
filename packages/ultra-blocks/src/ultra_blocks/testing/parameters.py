"""Rules of parameters: all are used, described and saved, and initialised from the global generator."""

from __future__ import annotations

import torch
from torch import nn

from ultra_blocks.testing.cases import BlockCase, Case, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.draws import Batch, batches
from ultra_core.contracts import ParamInfo


def described(module: nn.Module) -> dict[str, ParamInfo]:
    """Return the description of each parameter by its modules; the innermost module takes precedence."""
    info: dict[str, ParamInfo] = {}
    for path, part in module.named_modules():  # outer modules come first
        describe = getattr(part, "parameter_info", None)
        for name, description in (describe() if describe is not None else {}).items():
            info[f"{path}.{name}" if path else name] = description
    return info


def check_description(module: nn.Module) -> None:
    """Raise AssertionError unless every parameter is described, and in agreement with its shape."""
    info = described(module)
    parameters = dict(module.named_parameters())
    assert not info.keys() - parameters.keys(), (
        f"{info.keys() - parameters.keys()} are described but not there"
    )
    assert not parameters.keys() - info.keys(), f"{parameters.keys() - info.keys()} have no role"
    for name, description in info.items():
        height = sum(description.row_blocks)
        rows = [size for dim, size in enumerate(parameters[name].shape) if dim != description.expert_dim]
        assert height in (0, rows[0]), f"row_blocks of {name} add up to {height}"
        assert parameters[name].ndim > 1 or description.kind != "matrix", (
            f"{name} is a vector, described as a matrix"
        )


def check_saving(case: Case) -> nn.Module:
    """Build a module on the meta device, load its state dict, and return it.

    Raises:
        AssertionError: it has buffers that are not in the state dict.
    """
    module = case.build()
    with torch.device("meta"):
        other = case.cls(**case.arguments())
    other = other.to(torch.float64).to_empty(device="cpu").eval()
    lost = [name for name, _ in other.named_buffers() if name not in module.state_dict()]
    assert not lost, f"the buffers {lost} are not saved, so that loading over the meta device leaves rubbish"
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.data.fill_(float("nan")) if tensor.is_floating_point() else tensor.data.zero_()
    other.load_state_dict(module.state_dict())
    return other


def check_drawing(case: Case) -> None:
    """Raise AssertionError unless initial weights depend on torch's global generator only."""
    built = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = case.cls(**case.arguments())
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            built.append(list(module.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(built[0], built[1], strict=True)), (
        "the same seed gives different weights"
    )
    constant = all((p == p.flatten()[0]).all() for p in built[0] if p.numel())
    differ = any(not torch.equal(a, b) for a, b in zip(built[0], built[2], strict=True))
    assert constant or differ, "different seeds give the same weights"
    assert all(p.isfinite().all() for p in built[0]), "an initial weight is NaN or infinite"


@BLOCK_RULES("B15", draw=batches(rows=(2, 2), documents=(1, 1)), examples=3)
def state_dict(case: BlockCase, batch: Batch) -> None:
    """The state dict holds the whole state: a block built on the meta device and loaded is the same."""
    other = check_saving(case)
    x = batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size)
    same = torch.equal(output(other, x, batch.layout()), output(case.build(), x, batch.layout()))
    assert same, "the loaded block gives other outputs"


@BLOCK_RULES("B15b")
def roles(case: BlockCase) -> None:
    """Every parameter has a role and gets a gradient; row blocks add up to the rows of their matrix."""
    module = case.build()
    check_description(module)
    g = torch.Generator().manual_seed(0)
    # long enough for attention between blocks of 32 tokens
    x = torch.randn(2, 67, case.hidden_size, generator=g, dtype=torch.float64)
    y = output(module, x, None)
    weight = torch.randn(y.shape, generator=g, dtype=y.dtype)
    named = dict(module.named_parameters())
    found = zip(named, gradients(y, weight, list(named.values())), strict=True)
    idle = [name for name, g in found if not g.any()]
    assert not idle, f"{idle} get no gradient"


@BLOCK_RULES("B15c")
def first_weights(case: BlockCase) -> None:
    """Initial weights depend on torch's global generator only, also after ``reset_parameters``."""
    check_drawing(case)
