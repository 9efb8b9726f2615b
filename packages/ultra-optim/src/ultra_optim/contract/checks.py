"""Checks of every optimizer: hyperparameters, state dicts, sparse gradients, complex tensors."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from ultra_core.contracts import Range
from ultra_core.plugins.signatures import mismatch, read_options
from ultra_optim.contract import head_warning
from ultra_optim.contract.state_spec import COUNT, COUNTERS, checked_state, tensor_spec
from ultra_optim.contract.tensor_numbers import as_number, plain, refill, tensors_of
from ultra_optim.contract.traits import traits_of
from ultra_optim.engine.decay import note_peak

INFINITY = float("inf")

LAYOUT = ("kind", "role", "row_blocks", "expert_dim")
"""Keys of a group that describe its parameters."""

OPTIONAL = frozenset(
    {
        "compile",
        "optimizer",
        "param_names",
        "initial_lr",
        "max_lr",
        "min_lr",
        "base_momentum",
        "max_momentum",
        "swa_lr",
    }
)
"""Keys that a saved group may lack: names, and those that torch's schedulers add."""

LearningRate = Annotated[float | Tensor, Range(min=0, lt=INFINITY)]
"""A number, or a tensor of one element, see :mod:`ultra_optim.contract.tensor_numbers`."""
WeightDecay = Annotated[float, Range(min=0, lt=INFINITY)]
Beta = Annotated[float, Range(min=0, lt=1)]
Epsilon = Annotated[float, Range(min=0, lt=INFINITY)]


class Checked:
    """Mixin for a ``torch.optim.Optimizer``: checks groups by the constructor signature, state and gradients.

    After a group, a state dict or a gradient was refused, parameters and state are unchanged.
    """

    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]
    state_names: ClassVar[frozenset[str]]
    """Names that the state of a parameter may have; other names are refused."""

    def watch_steps(self) -> None:
        """Call :meth:`prepare` in each ``step()`` of a wrapped torch optimizer, after its closure."""

        def before(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
            if closure is None:
                optimizer.prepare()
                return None

            def prepared() -> Any:
                loss = closure()
                optimizer.prepare()
                return loss

            return (optimizer, prepared), {}

        self.register_step_pre_hook(before)  # type: ignore[attr-defined]

    def prepare(self) -> None:
        """Check the gradients before anything is changed.

        Raises:
            ValueError: a gradient is sparse.
        """
        check_gradients(self)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it.

        Raises:
            ValueError: a hyperparameter is outside the range of the constructor's signature, or a parameter
                is listed twice or complex.
        """
        check_hyperparameters(type(self), {**self.defaults, **param_group})
        (group,) = materialized(
            [{key: value for key, value in param_group.items() if key != head_warning.KEY}]
        )
        seen: set[int] = set()
        for tensor in tensors_in([group]):
            label = f"{type(self).__name__}: a parameter of shape {tuple(tensor.shape)}"
            if id(tensor) in seen:
                raise ValueError(f"{label} is listed twice in one group")
            if tensor.is_complex():
                raise ValueError(f"{label} is complex; only real parameters are supported")
            seen.add(id(tensor))
        self._name(group)
        # without torch's wrapper, whose first call imports torch._dynamo: no graph ever adds a group
        inspect.unwrap(super().add_param_group.__func__)(self, group)  # type: ignore[misc]
        group["optimizer"] = owner(self)
        note_peak(group)

    def _name(self, group: dict[str, Any]) -> None:
        """Name the parameters of a later group by its position where those of the others have names.

        torch refuses a group without names beside groups with names, as ``ultra_optim.param_groups`` makes.
        """
        params = group["params"]
        bare = isinstance(params, list) and not any(isinstance(item, tuple) for item in params)
        if bare and "param_names" not in group and any("param_names" in other for other in self.param_groups):
            group["param_names"] = [f"{len(self.param_groups)}.{index}" for index in range(len(params))]

    def acts_by_element(self, group: Mapping[str, Any]) -> bool:
        """Whether a part of a tensor of the group moves as it does in the whole one; see the traits."""
        return traits_of(self).elementwise

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the groups as tensors and plain data; learning rates are numbers."""
        saved = super().state_dict()  # type: ignore[misc]
        return {**saved, "param_groups": [plain(group) for group in saved["param_groups"]]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state dict of the same optimizer over the same parameters, with the dtypes of its state.

        Options that the optimizer did not have when the state dict was saved get their defaults.

        Raises:
            ValueError: groups, names or shapes differ from those of this optimizer; nothing is loaded.
        """
        state_dict = with_new_options(self, state_dict)
        tensors = check_state_dict(self, state_dict)
        own = [tensors_of(group) for group in self.param_groups]
        super().load_state_dict(state_dict)  # type: ignore[misc]
        for group, numbers in zip(self.param_groups, own, strict=True):
            refill(group, numbers)
        for parameter, saved in tensors:  # torch has cast to the dtype of the parameter; state may be wider
            for key, value in saved.items():
                if isinstance(value, Tensor):
                    self.state[parameter][key] = value.to(self.state[parameter][key].device)  # type: ignore[attr-defined]

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of the state of a parameter: by default counts and tensors of its shape.

        Args:
            group: the group of the parameter, with its options.
            parameter: the parameter.
            saved: the state to be checked, where the specification depends on it.

        Returns:
            for each name :func:`ultra_optim.contract.state_spec.tensor_spec` or
            :data:`ultra_optim.contract.state_spec.COUNT`.
        """
        return {name: COUNT if name in COUNTERS else tensor_spec(parameter) for name in self.state_names}


def owner(optimizer: Any) -> str:
    """Return the name of the class that declares the state; groups have it as ``optimizer``."""
    names = [cls.__name__ for cls in type(optimizer).__mro__ if "state_names" in vars(cls)]
    return names[0] if names else type(optimizer).__name__


def check_hyperparameters(cls: type, given: Mapping[str, Any]) -> None:
    """Check values against the signature of an optimizer class.

    Raises:
        ValueError: names the first value that does not fit and what is allowed.
    """
    for name, option in read_options(cls).items():
        if not option.settable or name not in given:
            continue
        value = given[name]
        if mismatch(value, option.type) is None:  # a tensor only where the signature allows one
            value = as_number(f"{cls.__name__}: {name}", value)
        if problem := mismatch(value, option.type, option.range):
            raise ValueError(f"{cls.__name__}: {name} is {value!r}; {problem}")


def refuse_module(params: Any) -> None:
    """Raise where a module stands for its parameters.

    Raises:
        TypeError: it does.
    """
    if isinstance(params, nn.Module):
        raise TypeError(
            f"params is a module ({type(params).__name__}); pass its parameters(), or build the optimizer by "
            "ultra_optim.create(name, model), which makes a group for each role"
        )


def materialized(params: Any) -> Any:
    """Return the argument ``params`` with iterators replaced by lists, so that it can be read twice."""
    refuse_module(params)
    if isinstance(params, Tensor):
        return params  # torch explains why a single tensor is not accepted
    return [
        {**item, "params": item["params"] if isinstance(item["params"], Tensor) else list(item["params"])}
        if isinstance(item, dict)
        else item
        for item in params
    ]


def tensors_in(params: Any) -> Iterator[Tensor]:
    """Yield the tensors of a materialized argument ``params``."""
    for item in [params] if isinstance(params, Tensor) else params:
        if isinstance(item, dict):
            yield from tensors_in(item["params"])
        else:
            yield item[1] if isinstance(item, tuple) else item


def check_gradients(optimizer: Any) -> None:
    """Refuse sparse gradients before anything is changed.

    Raises:
        ValueError: names the parameter.
    """
    for group in optimizer.param_groups:
        for index, parameter in enumerate(group["params"]):
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                raise ValueError(
                    f"{type(optimizer).__name__}: the gradient of {_label(group, index)} is sparse; "
                    "use nn.Embedding(..., sparse=False)"
                )


def with_new_options(optimizer: Any, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state dict whose groups have the defaults of options that they lack."""
    groups = state_dict.get("param_groups") if isinstance(state_dict, Mapping) else None
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        return state_dict  # check_state_dict reports what is wrong
    options = read_options(type(optimizer))
    fresh = {
        name: options[name].default
        for name in options.keys() & optimizer.defaults.keys()
        if not options[name].required
    }
    filled = [
        {**group, **{name: fresh[name] for name in fresh if name not in group}}
        if group.get("optimizer") == owner(optimizer)
        else group
        for group in groups
    ]
    return {**state_dict, "param_groups": filled}


def check_state_dict(optimizer: Any, state_dict: Mapping[str, Any]) -> list[tuple[Tensor, dict[str, Any]]]:
    """Check a state dict against the groups of an optimizer; return each parameter with its saved state.

    Raises:
        ValueError: it belongs to another optimizer or to other parameters.
    """
    label = type(optimizer).__name__
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        raise ValueError(
            f"{label}: not an optimizer's state dict: expected the keys 'state' and 'param_groups'"
        )
    groups, saved = optimizer.param_groups, state_dict["param_groups"]
    sizes, saved_sizes = ([len(g["params"]) for g in side] for side in (groups, saved))
    if sizes != saved_sizes:
        raise ValueError(
            f"{label}: the groups have {sizes} parameters, those of the state dict {saved_sizes}"
        )
    for group, other in zip(groups, saved, strict=True):
        if other.get("optimizer", owner(optimizer)) != owner(optimizer):
            raise ValueError(f"{label}: the state dict is another optimizer's, {other['optimizer']}'s")
        missing = (optimizer.defaults.keys() & read_options(type(optimizer)).keys()) - other.keys()
        if missing:
            raise ValueError(f"{label}: the state dict is another optimizer's; it has no {sorted(missing)}")
        names = {name for key in other["params"] for name in state_dict["state"].get(key, {})}
        if foreign := names - optimizer.state_names:
            raise ValueError(
                f"{label}: the state dict is another optimizer's; it has the state {sorted(foreign)}"
            )
        check_hyperparameters(type(optimizer), other)
        for key in ("param_names", *LAYOUT):
            if key in group and key in other and group[key] != other[key]:
                raise ValueError(f"{label}: {key} is {group[key]}, in the state dict {other[key]}")
            if key in LAYOUT and (key in group) != (key in other):
                here, there = ("the optimizer's", "the state dict's")[:: 1 if key in group else -1]
                raise ValueError(f"{label}: {here} group has {key} {(group | other)[key]}, {there} has none")
        lost = group.keys() - other.keys() - optimizer.defaults.keys() - OPTIONAL
        if lost:
            raise ValueError(f"{label}: a group of the state dict lacks {sorted(lost)}")
    pairs = []
    for group, other in zip(groups, saved, strict=True):
        chosen = {key: group[key] if key == "params" else other.get(key, group[key]) for key in group}
        for index, (parameter, key) in enumerate(zip(group["params"], other["params"], strict=True)):
            entry = state_dict["state"].get(key, {})
            expected = optimizer.state_spec(chosen, parameter, entry) if entry else {}
            where = f"{label}: {{}} of {_label(group, index).replace('{', '{{').replace('}', '}}')}"
            pairs.append((parameter, checked_state(where, parameter, expected, entry)))
    unknown = state_dict["state"].keys() - set(itertools.chain.from_iterable(g["params"] for g in saved))
    if unknown:
        raise ValueError(
            f"{label}: the state dict has state for parameters in none of its groups: {sorted(unknown)}"
        )
    return pairs


def _label(group: Mapping[str, Any], index: int) -> str:
    shape = tuple(group["params"][index].shape)
    return (
        f"{group['param_names'][index]} {shape}"
        if "param_names" in group
        else f"a parameter of shape {shape}"
    )
