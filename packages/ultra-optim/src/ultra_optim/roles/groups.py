"""Roles and kinds of all parameters of a model, and the parameter groups that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ultra_core.contracts import PARAMETER_KINDS, SEED_ROLES, ParamInfo
from ultra_core.errors import PluginError, UltraError, did_you_mean, listed
from ultra_core.plugins.hooks import plugin_manager
from ultra_optim.contract import head_warning
from ultra_optim.roles.module_types import fused, heads, infer, is_attention
from ultra_optim.roles.possible_heads import possible_heads

Modules = nn.Module | Sequence[nn.Module]
RoleOptions = Mapping[str, Mapping[str, Any]]


def describe(model: Modules) -> dict[str, ParamInfo]:
    """Return the role, kind and layout of every parameter.

    The first of these sources that describes a parameter wins:

    1. the hooks ``ultra_parameter_info(model)`` and, for the role alone, ``ultra_parameter_roles(model)``;
    2. ``parameter_info()`` of the modules, keyed by attribute name or by the dotted name of a descendant;
       the innermost module that describes a parameter wins;
    3. the output head that a transformers model declares;
    4. the type of the owning module, see :func:`ultra_optim.roles.module_types.infer`.

    A parameter that several modules share is listed once, under its first name; it is an embedding if one of
    them is an embedding. A matrix with a side of 1 is a vector.

    Args:
        model: a module, or several: a model and losses that have parameters. Names of the second and later
            modules start with their index: ``1.weight``.

    Raises:
        PluginError: a description names a parameter that does not exist or does not fit its shape.
        UltraError: a lazy parameter has no shape yet.
    """
    found: dict[str, ParamInfo] = {}
    seen: set[int] = set()
    for prefix, module in _with_prefixes(model):
        parameters = dict(module.named_parameters(remove_duplicate=False))
        aliases: dict[int, list[str]] = {}
        for name, parameter in parameters.items():
            if id(parameter) not in seen:
                aliases.setdefault(id(parameter), []).append(name)
        described = _describe_aliases(module, parameters)
        hooked = _hook_answers(module, parameters, described)
        for first, *others in aliases.values():
            names = (first, *others)
            info = next((described[n] for n in names if described[n].kind == "embedding"), described[first])
            info = next((hooked[n] for n in names if n in hooked), info)
            found[prefix + first] = _checked(prefix + first, parameters[first], info)
        seen |= aliases.keys()
    return found


def param_groups(
    model: Modules,
    *,
    lr: float | Tensor | None = None,
    weight_decay: float | None = None,
    roles: RoleOptions | None = None,
    kinds: Mapping[str, str] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Return the trainable parameters of any module in groups for an optimizer.

    There is one group for each (role, kind, decay) that occurs. A group has ``params``, ``param_names``,
    ``role``, ``kind``, ``decay``, the hyperparameters that were given, and, for kinds ``matrix`` and
    ``expert``, ``row_blocks`` and ``expert_dim`` with one item for each parameter. All of it except
    ``params`` is plain data.

    Biases, gates and decay rates have ``weight_decay`` 0; so do norm gains, unless ``roles["norms"]`` sets
    it.

    Args:
        model: a module, or a sequence of modules (a model and losses that have parameters).
        lr: learning rate of groups whose role does not set one; the default of the optimizer if None.
        weight_decay: weight decay, likewise.
        roles: absolute values for each role, e.g. ``{"embeddings": {"lr": 1e-4, "betas": (0.9, 0.98)}}``.
        kinds: kinds of single parameters, for those whose module does not say and whose type says too little,
            e.g. ``{"decoder.weight": "head"}``.
        **options: further options of groups whose role does not set them.

    Raises:
        UltraError: no parameter is trainable, or a role is neither one of the seven built-in roles nor in the
            model; or ``kinds`` names a parameter or kind that does not exist.
        PluginError: see :func:`describe`.
    """
    infos = describe(model)
    suspects = _suspects(model, infos)
    for name, kind in (kinds or {}).items():
        infos[name] = _with_kind(name, kind, infos)
        suspects.pop(name, None)
    roles = roles or {}
    known = {*SEED_ROLES, *(info.role for info in infos.values())}
    for role in roles:
        if role not in known:
            raise UltraError(
                f"options are given for the role {role!r}, which no parameter has."
                f"{did_you_mean(role, known)} Roles: {listed(sorted(known))}"
            )
    common = {"lr": lr, "weight_decay": weight_decay, **options}
    common = {key: value for key, value in common.items() if value is not None}
    groups: dict[tuple[str, str, bool], dict[str, Any]] = {}
    for name, parameter in named_parameters(model):
        if not parameter.requires_grad:
            continue
        info = infos[name]
        key = (info.role, info.kind, info.decay)
        if key not in groups:
            groups[key] = _new_group(info, common, roles.get(info.role, {}))
        _append(groups[key], name, parameter, info)
        if name in suspects:
            groups[key].setdefault(head_warning.KEY, {})[name] = suspects[name]
    _check_complete(model, groups.values())
    return list(groups.values())


def _suspects(model: Modules, infos: Mapping[str, ParamInfo]) -> dict[str, str]:
    """Return what looks like an output head in each module of a model."""
    found: dict[str, str] = {}
    for prefix, module in _with_prefixes(model):
        own = {name.removeprefix(prefix): info for name, info in infos.items() if name.startswith(prefix)}
        found |= {prefix + name: reason for name, reason in possible_heads(module, own).items()}
    return found


def _with_kind(name: str, kind: str, infos: Mapping[str, ParamInfo]) -> ParamInfo:
    if name not in infos:
        raise UltraError(f"kinds names {name!r}, which the model does not have.{did_you_mean(name, infos)}")
    if kind not in PARAMETER_KINDS:
        raise UltraError(f"kinds[{name!r}] is {kind!r}; kinds are {listed(list(PARAMETER_KINDS))}")
    blocks = infos[name].row_blocks if kind == "matrix" else ()
    return attrs.evolve(infos[name], kind=kind, row_blocks=blocks)  # type: ignore[arg-type]


def named_parameters(model: Modules) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield every parameter once, under the name that :func:`describe` uses."""
    seen: set[int] = set()
    for prefix, module in _with_prefixes(model):
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield prefix + name, parameter


def _with_prefixes(model: Modules) -> list[tuple[str, nn.Module]]:
    modules = [model] if isinstance(model, nn.Module) else list(model)
    for module in modules:
        if not isinstance(module, nn.Module):
            raise UltraError(
                f"expected a module or a sequence of modules, got {type(module).__name__}; "
                "pass the model itself, not its parameters"
            )
    return [("" if index == 0 else f"{index}.", module) for index, module in enumerate(modules)]


def _describe_aliases(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, ParamInfo]:
    """Return the descriptions 2 to 4 of :func:`describe` by name, for shared parameters under each name."""
    by_type: dict[str, ParamInfo] = {}
    declared: dict[str, ParamInfo] = {}
    blocks: dict[str, tuple[int, ...]] = {}
    attention: set[str] = set()
    for path, module in model.named_modules(remove_duplicate=False):
        parent = path.rpartition(".")[0]
        if is_attention(module) or (path and parent in attention):
            attention.add(path)
        dot = f"{path}." if path else ""
        for name, info in infer(module, attention=path in attention).items():
            by_type[dot + name] = info
        blocks |= {dot + name: rows for name, rows in fused(module).items()}
        if callable(getattr(module, "parameter_info", None)):
            for name, info in module.parameter_info().items():
                if dot + name not in parameters:
                    raise PluginError(
                        f"{type(module).__name__}.parameter_info() describes {name!r}, which does not exist."
                        f"{did_you_mean(name, dict(module.named_parameters()))}"
                    )
                declared[dot + name] = info
    outputs = heads(model)
    for name, parameter in parameters.items():
        if id(parameter) in outputs and by_type[name].kind != "embedding":
            by_type[name] = attrs.evolve(by_type[name], kind="head")
    for name, rows in blocks.items():
        by_type[name] = attrs.evolve(by_type[name], row_blocks=rows)
    return {**by_type, **declared}


def _hook_answers(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], described: Mapping[str, ParamInfo]
) -> dict[str, ParamInfo]:
    """Return the descriptions of plugins; the plugin that was registered last wins."""
    hook = plugin_manager().hook
    answers: dict[str, ParamInfo] = {}
    for infos in reversed(hook.ultra_parameter_info(model=model)):
        for name, info in infos.items():
            _check_name("ultra_parameter_info", name, parameters)
            answers[name] = info
    for roles in reversed(hook.ultra_parameter_roles(model=model)):
        for name, role in roles.items():
            _check_name("ultra_parameter_roles", name, parameters)
            answers[name] = attrs.evolve(answers.get(name, described[name]), role=role)
    return answers


def _check_name(hook: str, name: str, parameters: Mapping[str, nn.Parameter]) -> None:
    if name not in parameters:
        raise PluginError(
            f"a plugin's {hook}() describes {name!r}, which the model does not have."
            f"{did_you_mean(name, parameters)}"
        )


def _checked(name: str, parameter: nn.Parameter, info: ParamInfo) -> ParamInfo:
    """Complete a description from the shape of the parameter, or raise if they disagree."""
    if is_lazy(parameter):
        raise UltraError(f"{name} has no shape yet; run one forward pass before building the optimizer")
    shape = tuple(parameter.shape)
    if info.kind == "expert" and info.expert_dim is None and len(shape) == 3:
        info = attrs.evolve(info, expert_dim=0)
    matrix = [size for dim, size in enumerate(shape) if dim != info.expert_dim]
    if info.kind in ("matrix", "expert") and (len(matrix) != 2 or min(matrix) <= 1):
        return attrs.evolve(info, kind="vector", row_blocks=(), expert_dim=None)
    if info.row_blocks and (len(matrix) != 2 or sum(info.row_blocks) != matrix[0]):
        raise PluginError(
            f"{name} is described with row blocks {info.row_blocks}, which must add up to the rows of "
            f"each matrix, but its shape is {shape}"
        )
    return info


def _new_group(info: ParamInfo, common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = {"params": [], "param_names": []}
    group |= {"role": info.role, "kind": info.kind, "decay": info.decay}
    if info.kind in ("matrix", "expert"):
        group |= {"row_blocks": [], "expert_dim": []}
    group |= {**common, **own}
    if not info.decay or (info.role == "norms" and "weight_decay" not in own):
        group["weight_decay"] = 0.0
    return group


def _append(group: dict[str, Any], name: str, parameter: nn.Parameter, info: ParamInfo) -> None:
    group["params"].append(parameter)
    group["param_names"].append(name)
    if "row_blocks" in group:
        group["row_blocks"].append(list(info.row_blocks))
        group["expert_dim"].append(info.expert_dim)


def _check_complete(model: Modules, groups: Any) -> None:
    counted: dict[int, int] = {}
    for group in groups:
        for parameter in group["params"]:
            counted[id(parameter)] = counted.get(id(parameter), 0) + 1
    trainable = {id(p): name for name, p in named_parameters(model) if p.requires_grad}
    if not trainable:
        raise UltraError("the model has no trainable parameter: every requires_grad is False")
    wrong = [name for key, name in trainable.items() if counted.get(key, 0) != 1]
    if wrong or len(counted) != len(trainable):
        raise UltraError(f"these trainable parameters are not in exactly one group: {listed(wrong)}")
