"""Rules of parameters: all are used, described and saved, and initialised from the global generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ultra_blocks.init import reset_buffers
from ultra_blocks.testing.cases import BlockCase, Case, output
from ultra_blocks.testing.construction import BLOCK_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.draws import Batch, batches
from ultra_blocks.testing.seeding import seeded
from ultra_core.contracts import ParamInfo
from ultra_core.errors import listed
from ultra_core.module_types import is_norm
from ultra_core.testing import Finding


def described(module: nn.Module) -> dict[str, ParamInfo | None]:
    """Return the description of each parameter by its modules; the innermost module takes precedence.

    None: no module describes it, so that optimizers go by the type of the module that owns it. Norms that no
    module describes have the role ``norms``, as they have for optimizers. A parameter with several names has
    the first.
    """
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    names = {name: first[id(parameter)] for name, parameter in every}
    info: dict[str, ParamInfo | None] = dict.fromkeys(first.values())
    for path, part in module.named_modules():  # outer modules come first
        dot = f"{path}." if path else ""
        describe = getattr(part, "parameter_info", None)
        if describe is None and is_norm(part):
            own = dict(part.named_parameters(recurse=False))
            info |= {dot + name: ParamInfo(role="norms", kind="vector", decay=name != "bias") for name in own}
        given = describe() if describe is not None else {}
        info |= {names.get(dot + name, dot + name): entry for name, entry in given.items()}
    return info


def check_description(module: nn.Module) -> None:
    """Raise a finding unless descriptions are complete, of parameters that exist, and fit their shapes.

    A plain module, without any ``parameter_info``, leaves all of them to the types of its modules.

    Raises:
        Finding: they are not.
    """
    info = described(module)
    parameters = dict(module.named_parameters())
    if unknown := sorted(info.keys() - parameters.keys()):
        raise Finding(
            f"parameter_info() describes {listed(unknown)}; there are only {listed(sorted(parameters))}"
        )
    silent = [name for name, given in info.items() if given is None]
    if silent and hasattr(module, "parameter_info"):
        raise Finding(f"parameter_info() leaves out {listed(silent)}, so that no one says their role")
    for name, description in info.items():
        if description is None:
            continue
        shape, height = tuple(parameters[name].shape), sum(description.row_blocks)
        rows = next((size for dim, size in enumerate(shape) if dim != description.expert_dim), 0)
        if height not in (0, rows):
            blocks = description.row_blocks
            raise Finding(f"row_blocks {blocks} of {name} {shape} add up to {height}, and it has {rows} rows")
        if len(shape) <= 1 and description.kind == "matrix":
            raise Finding(f"{name} {shape} is a vector, described as a matrix")


def check_saving(case: Case) -> nn.Module:
    """Build a module on the meta device, load its state dict, and return it.

    Raises:
        Finding: a tensor of it is neither in the state dict nor computed anew by ``reset_buffers``.
    """
    module = case.build()
    with torch.device("meta"):
        other = case.cls(**case.arguments())
    for path, part in other.named_modules():
        loose = [name for name, value in vars(part).items() if isinstance(value, torch.Tensor)]
        if loose:
            where = f"{path}.{loose[0]}" if path else loose[0]
            raise Finding(
                f"{where} is a plain tensor, which stays on the device where the module was built",
                fix=f'`self.register_buffer("{loose[0]}", {loose[0]})`, or compute it in `forward`',
            )
    other = other.to(torch.float64).to_empty(device="cpu").eval()
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.data.fill_(float("nan")) if tensor.is_floating_point() else tensor.data.zero_()
    other.load_state_dict(module.state_dict())
    reset_buffers(other)
    wanted = dict(module.named_buffers())
    for name, buffer in other.named_buffers():
        if name in module.state_dict() or torch.equal(buffer, wanted[name]):
            continue
        if buffer.isfinite().all() and buffer.any():
            check_close(buffer, wanted[name], 0.0, what=f"after reset_buffers, {name}", other="at first")
        raise Finding(
            f"the buffer {name} {tuple(buffer.shape)} is not saved, so that loading over the meta device "
            "leaves rubbish in it"
        )
    return other


class _GlobalGenerator(TorchFunctionMode):
    """Refuses random numbers of another generator than the global one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        if (kwargs or {}).get("generator") is not None:
            raise Finding(
                f"{getattr(func, '__name__', func)} draws initial weights with a generator of its own"
            )
        return func(*args, **(kwargs or {}))


def check_drawing(case: Case) -> None:
    """Raise AssertionError unless initial weights depend on torch's global generator only."""
    built = []
    for seed in (0, 0, 1):
        with seeded(seed), _GlobalGenerator():
            module = case.cls(**case.arguments())
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            built.append(list(module.parameters()))
    names = [name for name, _ in module.named_parameters()]
    for name, first, again in zip(names, *built[:2], strict=True):
        check_close(again, first, 0.0, what=f"built again with the same seed, {name}", other="at first")
        if not first.isfinite().all():
            raise Finding(f"the initial {name} {tuple(first.shape)} has NaN or infinity")
    # vectors may be tables, as slopes of heads are
    constant = all((p == p.flatten()[0]).all() for p in built[0] if p.numel() and p.ndim > 1)
    differ = any(not torch.equal(a, b) for a, b in zip(built[0], built[2], strict=True))
    if not (constant or differ):
        raise Finding("torch.manual_seed(0) and torch.manual_seed(1) give the same weights")


@BLOCK_RULES("B15", draw=batches(rows=(2, 2), documents=(1, 1)), examples=3, after=("B1",))
def state_dict(case: BlockCase, batch: Batch) -> None:
    """The state dict holds the whole state: a block built on the meta device and loaded is the same.

    ``from_pretrained`` builds models on the meta device, where nothing is computed.

    Fix: compute tables in ``forward``, save them (``register_buffer(name, table)``), or compute those with
    ``persistent=False`` anew in a method ``reset_buffers()``, which is called after loading.
    """
    other = check_saving(case)
    x = batch.place(batch.tokens(case.hidden_size), batch.layout(), case.hidden_size)
    wanted = output(case.build(), x, batch.layout())
    check_close(output(other, x, batch.layout()), wanted, 0.0, what="loaded, output", other="before saving")


@BLOCK_RULES("B15c")
def first_weights(case: BlockCase) -> None:
    """Initial weights depend on torch's global generator only, also after ``reset_parameters``.

    Fix: draw with ``nn.init`` or ``torch.randn``, without a generator, ``numpy`` or ``random``, and seed
    nothing.
    """
    check_drawing(case)
