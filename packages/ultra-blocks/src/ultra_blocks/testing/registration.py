"""Rules of state: every tensor is registered, moves with the module, and starts as it was asked to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import Case
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.outcomes import answer
from ultra_blocks.testing.parameters import described
from ultra_blocks.testing.seeding import seeded
from ultra_core.errors import listed
from ultra_core.module_types import is_recurrent
from ultra_core.testing import Finding

LARGEST = 10.0
"""Largest root mean square of an initial matrix, in units of the ``std`` that was asked for."""


def registered(case: Case) -> None:
    """All state is registered: it is trained, saved, loaded and moved, and stays as it is in evaluation.

    Fix: ``nn.Parameter`` for what is trained, ``register_buffer`` for what is not, ``nn.ModuleList`` and
    ``nn.ParameterList`` instead of lists, all of it in the constructor. Parameters that are frozen on purpose
    are named in the trait ``frozen``.
    """
    module = case.build()
    _check_frozen(case, module)
    known = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    for path, part in module.named_modules():
        for where, tensor in _hidden(part):
            if id(tensor) not in known:
                place = f"{path}.{where}" if path else where
                raise Finding(f"{place} holds a tensor {tuple(tensor.shape)} that state_dict() does not have")
    _stays(case, module)
    loaded = case.copy_of(case.build())
    for mode in (False, True):
        got, wanted = (_seeded(case, m.train(mode)) for m in (loaded, case.build()))
        what = f"loaded into a block of another seed, output in {'training' if mode else 'evaluation'}"
        check_close(got, wanted, 0.0, what=what, other="before")
    moved = module.float()
    got, wanted = (answer(case, m, torch.float32) for m in (moved, case.build(torch.float32)))
    check_close(got, wanted, 1e-5, what="after a call in fp64 and .float(), output", other="of a fresh one")


def _check_frozen(case: Case, module: nn.Module) -> None:
    """Raise a finding unless the parameters that are not trained are those of the trait ``frozen``."""
    still = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    for name in sorted(still - case.traits.frozen):
        raise Finding(
            f"{name} {tuple(module.get_parameter(name).shape)} is a parameter with requires_grad=False",
            fix="make it a buffer, or, if others may train it, name it in the traits: "
            f'`frozen=frozenset({{"{name}"}})`',
        )
    for name in sorted(case.traits.frozen - still):
        known = name in dict(module.named_parameters())
        raise Finding(f"traits.frozen names {name!r}, which {'is trained' if known else 'is no parameter'}")


def _hidden(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors in plain attributes of a module, also those in lists, dicts and unregistered modules."""
    for name, value in vars(part).items():
        if name in ("_parameters", "_buffers", "_modules") or name.endswith("_hooks"):
            continue
        for item in _items(value):
            tensors = [*item.parameters(), *item.buffers()] if isinstance(item, nn.Module) else [item]
            yield from ((name, tensor) for tensor in tensors if isinstance(tensor, Tensor))


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [item for inner in value.values() for item in _items(inner)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [item for inner in value for item in _items(inner)]
    return [value]


def _stays(case: Case, module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    names = [name for name, _ in module.named_parameters()]
    answer(case, module)
    if made := sorted({name for name, _ in module.named_parameters()} - set(names)):
        raise Finding(f"forward creates the parameters {listed(made)}, after the optimizer has been built")
    for name, tensor in module.state_dict().items():
        if name not in before or not torch.equal(tensor, before[name]):
            raise Finding(f"a call in evaluation changes {name} {tuple(tensor.shape)}")


def _seeded(case: Case, module: nn.Module) -> Tensor:
    with seeded(0):
        return answer(case, module)


def starts_as_asked(case: Case) -> None:
    """``reset_parameters(std=, residual_scale=)`` gives all matrices that size, and scales the last one.

    The encoder calls it with the ``initializer_range`` of the model, and with a ``residual_scale`` that keeps
    the sum over many layers small. Recurrent layers of torch have a size of their own, and so have parameters
    that are frozen.

    Fix: draw every projection from N(0, std^2), and what writes to the residual stream from
    N(0, (std residual_scale)^2). ``reset_parameters`` of ``Mixer`` and ``FeedForward`` does so for layers, of
    which ``Mixer.output_projection`` (or ``down``) is the last; extend it for parameters without a layer.
    """
    base, wide, scaled = (_reset(case, **given) for given in ({}, {"std": 0.1}, {"residual_scale": 0.1}))
    infos = described(base)
    own = _with_own_sizes(base)
    matrices = [n for n, info in infos.items() if info and info.kind in ("matrix", "expert") and n not in own]
    sizes = {n: tuple(_rms(module, n) for module in (base, wide, scaled)) for n in matrices}
    # a block may have a size of its own, as RetNet has, but then for all of its matrices
    follows = any(other > 2 * size for size, other, _ in sizes.values())
    for name, (size, other, _) in sizes.items():
        weight = base.get_parameter(name)
        if size > LARGEST * 0.02:
            raise Finding(f"with std=0.02, {name} {tuple(weight.shape)} has a root mean square of {size:.3g}")
        if size and len(weight) > 1 and (weight == weight[:1]).all():
            raise Finding(f"all rows of the initial {name} {tuple(weight.shape)} are equal")
        if follows and size and other < 2 * size:
            raise Finding(f"std=0.1 instead of 0.02 makes {name} {other / size:.3g} times as large, not 5")
    if sizes and not any(size == 0 or small < 0.5 * size for size, _, small in sizes.values()):
        raise Finding(f"residual_scale=0.1 leaves all of {listed(matrices)} as large as they were")


def _reset(case: Case, **given: float) -> nn.Module:
    with seeded(0):
        module: Any = case.cls(**case.arguments())
        module.reset_parameters(**{"std": 0.02, **given})
    assert isinstance(module, nn.Module)
    return module


def _with_own_sizes(module: nn.Module) -> set[str]:
    """Return the names of the parameters of recurrent layers of torch, and of those that are frozen."""
    parts = {path: part for path, part in module.named_modules() if is_recurrent(part)}
    names = {f"{path}.{name}" if path else name for path, part in parts.items() for name in part.state_dict()}
    return names | {name for name, parameter in module.named_parameters() if not parameter.requires_grad}


def _rms(module: nn.Module, name: str) -> float:
    return float(module.get_parameter(name).detach().square().mean().sqrt())


def _no_reset(case: Case) -> str:
    reset: Callable[..., Any] | None = getattr(case.cls, "reset_parameters", None)
    if reset is None or not {"std", "residual_scale"} <= inspect.signature(reset).parameters.keys():
        return "it has no reset_parameters(std=, residual_scale=)"
    return ""


BLOCK_RULES("B15f", least="quick")(registered)
FFN_RULES("F3d", least="quick")(registered)
NORM_RULES("N4c", least="quick")(registered)
POSITION_RULES("P5c", after=("P1",), least="quick")(registered)
BLOCK_RULES("B15g", after=("B15b",), unless=_no_reset)(starts_as_asked)
FFN_RULES("F3e", after=("F3",), unless=_no_reset)(starts_as_asked)
