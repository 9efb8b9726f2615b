"""Creating an optimizer by name over a model, parameters or groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import check_options, read_options
from ultra_optim.contract.checks import tensors_in
from ultra_optim.contract.traits import traits_of
from ultra_optim.roles.given import Parameters, given_groups, is_model
from ultra_optim.roles.groups import Modules, RoleOptions, param_groups


def create(
    name: str | type[Optimizer],
    model: Modules | Parameters,
    lr: float | Tensor | None = None,
    *,
    roles: RoleOptions | None = None,
    kinds: Mapping[str, str] | None = None,
    **options: Any,
) -> Optimizer:
    """Create an optimizer over a model, with its parameters grouped by role and kind, or over parameters.

    ::

        optimizer = ultra_optim.create("muon", model, lr=1e-3, roles={"embeddings": {"lr": 3e-4}})
        optimizer = ultra_optim.create("lion", model.parameters(), lr=1e-4)
        optimizer = ultra_optim.create("lion", [{"params": a, "lr": 1e-4}, {"params": b, "lr": 1e-5}])

    Args:
        name: a registered name (``ultra_core.optimizers.names()``) or an optimizer class.
        model: a module, or a sequence of modules (a model and losses that have parameters). Methods that
            treat all parameters alike also take parameters, named parameters, or groups with ``params`` and
            options of their own; those for hidden matrices need groups with a ``kind``.
        lr: learning rate of roles or groups that do not set one; the default of the optimizer if None.
        roles: absolute values for each role, e.g. ``{"norms": {"lr": 1e-4, "weight_decay": 0.001}}``;
            learning rates multiply ``lr`` where the optimizer finds its step size itself (trait ``one_lr``).
        kinds: kinds of single parameters of the model, see :func:`ultra_optim.param_groups`.
        **options: options of the optimizer; ``total_steps`` is ignored by optimizers that do not have it.

    Raises:
        UltraError: an optimizer, option or role is unknown, a value is out of range, nothing is trainable, a
            group lacks what the optimizer needs, or the optimizer does not take a parameter of that shape.
    """
    cls = optimizers.get(name) if isinstance(name, str) else name
    label = name if isinstance(name, str) else cls.__name__
    traits, signature = traits_of(cls), read_options(cls)
    if "total_steps" not in signature:
        options.pop("total_steps", None)
    if lr is not None:
        options["lr"] = lr
    for message in check_options(label, cls, options).values():
        raise UltraError(message)
    for role, own in (roles or {}).items():
        for message in check_options(label, cls, own).values():
            raise UltraError(f"role {role}: {message}")
    if not is_model(model):
        if roles or kinds:
            raise UltraError(
                f"{label}: roles and kinds are those of a model; over parameters, give each group its options"
            )
        return _constructed(label, cls, given_groups(label, cls, model), options)
    modules: Any = model
    if traits.needs_logits:
        options["model"] = modules
    if traits.one_lr:
        base = options.get("lr", signature["lr"].default)
        roles = {
            role: {**own, "lr": base * own["lr"]} if "lr" in own else own
            for role, own in (roles or {}).items()
        }
    return _constructed(label, cls, param_groups(modules, roles=roles, kinds=kinds), options)


build = create
"""The former name of :func:`create`, the same function."""


def _constructed(
    label: str, cls: type[Optimizer], groups: list[Any], options: Mapping[str, Any]
) -> Optimizer:
    if (taken := traits_of(cls).dimensions) is not None:
        for parameter in tensors_in(groups):
            if parameter.ndim not in taken:
                raise UltraError(
                    f"{label} takes parameters of {' or '.join(map(str, taken))} dimensions; freeze that of "
                    f"shape {tuple(parameter.shape)}, or give it to another optimizer"
                )
    try:
        return cls(groups, **options)
    except ValueError as error:
        raise UltraError(str(error)) from error
