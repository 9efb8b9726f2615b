"""Building an optimizer by name over the parameter groups of a model."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import check_options, read_options
from ultra_optim.contract.traits import traits_of
from ultra_optim.roles.groups import Modules, RoleOptions, param_groups


def build(
    name: str | type[Optimizer],
    model: Modules,
    *,
    lr: float | None = None,
    roles: RoleOptions | None = None,
    **options: Any,
) -> Optimizer:
    """Build an optimizer over any module, with its parameters grouped by role and kind.

    ::

        optimizer = ultra_optim.build("muon", model, lr=1e-3, roles={"embeddings": {"lr": 3e-4}})

    Args:
        name: a registered name (``ultra_core.optimizers.names()``) or an optimizer class.
        model: a module, or a sequence of modules (a model and losses that have parameters).
        lr: learning rate of roles that do not set one; the default of the optimizer if None.
        roles: absolute values for each role, e.g. ``{"norms": {"lr": 1e-4, "weight_decay": 0.001}}``;
            learning rates multiply ``lr`` where the optimizer finds its step size itself (trait ``one_lr``).
        **options: options of the optimizer; ``total_steps`` is ignored by optimizers that do not have it.

    Raises:
        UltraError: an optimizer, option or role is unknown, a value is out of range, or nothing is trainable.
    """
    cls = optimizers.get(name) if isinstance(name, str) else name
    label = name if isinstance(name, str) else cls.__name__
    signature = read_options(cls)
    if "total_steps" not in signature:
        options.pop("total_steps", None)
    if lr is not None:
        options["lr"] = lr
    for message in check_options(label, cls, options).values():
        raise UltraError(message)
    for role, own in (roles or {}).items():
        for message in check_options(label, cls, own).values():
            raise UltraError(f"role {role}: {message}")
    if traits_of(cls).needs_logits:
        options["model"] = model
    if traits_of(cls).one_lr:
        base = options.get("lr", signature["lr"].default)
        roles = {
            role: {**own, "lr": base * own["lr"]} if "lr" in own else own
            for role, own in (roles or {}).items()
        }
    try:
        return cls(param_groups(model, roles=roles), **options)
    except ValueError as error:
        raise UltraError(str(error)) from error
