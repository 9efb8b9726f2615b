"""References of plugins, plain functions of the same arguments and state dict, and the comparison."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import Case
from ultra_blocks.testing.differences import check_close
from ultra_core.errors import listed
from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding

LIMITS = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Largest relative error by the dtype of the plugin's result, which may compute in less than fp64."""

CANCELLED = 1e-3
"""Gradients below this part of the largest one are compared with that instead of with themselves.

Some are zero up to rounding, such as that of the bias of the keys of a softmax.
"""

Forward = Callable[[nn.Module, Mapping[str, Tensor]], Any]
"""Applies a plugin to named inputs, and returns its output, or ``(output, losses)``."""


def unproven(case: Case) -> str:
    """Return why there is nothing to compare a plugin with; empty if it has a reference.

    A subclass with another constructor may lack arguments of the reference that it inherits.
    """
    advice = 'its formula is unproven until it has `reference = "package.module:function"`'
    if getattr(case.cls, "reference", None) is None:
        return f"{case.name} has no reference; {advice}"
    if "reference" in vars(case.cls) or not (lacking := _lacking(case)):
        return ""
    return f"{case.name} inherits a reference for which it lacks {listed(lacking)}; {advice}"


def _lacking(case: Case) -> list[str]:
    """Return the arguments that a reference needs and the constructor of the plugin does not have."""
    try:
        parameters = inspect.signature(reference_of(case)).parameters.values()
        given = arguments_of(case, {})
    except Exception:  # the rule says what is wrong
        return []
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return [name for name in needed if name not in given]


def reference_of(case: Case) -> Callable[..., Any]:
    """Return the reference of a plugin.

    Raises:
        Finding: it cannot be imported, or is no function.
    """
    given = case.cls.reference
    fix = 'name a function that can be imported: `reference = "package.module:function"`'
    try:
        found = pkgutil.resolve_name(given) if isinstance(given, str) else given
    except (ImportError, AttributeError, ValueError) as error:
        raise Finding(f"the reference {given!r} cannot be imported: {error}", fix=fix) from error
    if not callable(found):
        raise Finding(f"the reference {given!r} is a {type(found).__name__}, no function", fix=fix)
    return found


def arguments_of(case: Case, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the constructor with their defaults, as references receive them."""
    defaults = {name: option.default for name, option in read_options(case.cls).items()}
    return defaults | case.arguments(**options)


def compare(
    case: Case,
    module: nn.Module,
    forward: Forward,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    note: str,
) -> None:
    """Compare outputs, losses and all gradients of a plugin with those of its reference.

    Of a plugin whose traits declare straight-through gradients, these are not compared.

    Args:
        case: the plugin under test.
        module: it, built with the options, in evaluation mode; its losses are those of training mode.
        forward: applies it.
        inputs: what both are applied to, by name.
        options: those beside the options of the case.
        note: the options and the length, for messages.

    Raises:
        Finding: they differ.
    """
    reference, arguments = reference_of(case), arguments_of(case, options)
    ours, theirs, state = _leaves(inputs), _leaves(inputs), _leaves(module.state_dict(keep_vars=True))
    got = _outputs(forward(module, ours))
    wanted = _outputs(reference(*theirs.values(), state, **arguments))
    if len(wanted) > 1:
        got = {**_outputs(forward(module.train(), ours)), "output": got["output"]}
        module.eval()
    if missing := wanted.keys() - got.keys():
        raise Finding(f"the reference returns {', '.join(sorted(missing))}, the plugin does not; {note}")

    def check(name: str, ours: Tensor, theirs: Tensor, smallest: float = 0.0) -> None:
        limit = case.allows(LIMITS.get(ours.dtype, LIMITS[torch.float32]))
        scale = theirs.detach().abs().max().clamp(min=smallest) if theirs.numel() else None
        check_close(ours, theirs, limit, what=name, other="in the reference", scale=scale, note=note)

    for name, y in wanted.items():
        check(name, got[name], y)
    if case.traits.straight_through:
        return  # its gradients are those of another function
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = _gradients([got[name] for name in wanted], {**ours, **trained})
    expected = _gradients(list(wanted.values()), {**theirs, **{name: state[name] for name in trained}})
    largest = max((float(g.abs().max()) for g in expected.values() if g.numel()), default=0.0)
    for name, g in found.items():
        check(f"gradient of {name}", g, expected[name], smallest=CANCELLED * largest)


def _leaves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of which gradients can be taken; names of one tensor (tied weights) share a copy."""
    copies: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in copies:
            copies[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.is_floating_point())
    return {name: copies[id(tensor)] for name, tensor in tensors.items()}


def _outputs(result: Any) -> dict[str, Tensor]:
    y, losses = result if isinstance(result, tuple) else (result, {})
    return {"output": y, **{f"loss {name}": loss for name, loss in losses.items()}}


def _gradients(outputs: list[Tensor], leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a random combination of outputs; zeros for leaves without effect."""
    g = torch.Generator().manual_seed(1)
    outputs = [y for y in outputs if y.requires_grad]
    leaves = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if not (outputs and leaves):
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    weights = [torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype) for y in outputs]
    found = torch.autograd.grad(
        outputs, list(leaves.values()), weights, allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, found, strict=True))
