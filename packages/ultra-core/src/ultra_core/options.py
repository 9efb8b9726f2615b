"""The constructor signature of a plugin is its schema: this module reads it.

A plugin is an ordinary class with typed keyword arguments. ``Annotated[int, Range(min=1)]`` and
``Literal[...]`` give ranges and choices; ``Annotated[int, FromModel("num_heads")]`` says that the value
comes from the model config unless the preset sets it.
"""

from __future__ import annotations

import collections.abc
import inspect
import math
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from ultra_core.errors import PluginError, did_you_mean, listed

SCALARS: tuple[type, ...] = (bool, int, float, str, type(None))


@attrs.frozen(kw_only=True)
class Range:
    """Bounds of a number; ``gt`` and ``lt`` are exclusive, ``min`` and ``max`` inclusive."""

    min: float | None = None
    max: float | None = None
    gt: float | None = None
    lt: float | None = None

    def __contains__(self, value: float) -> bool:
        """Whether the value lies inside; NaN never does."""
        return (
            not math.isnan(value)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.gt is None or value > self.gt)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        signs = ((">=", self.min), (">", self.gt), ("<=", self.max), ("<", self.lt))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in signs if bound is not None)


@attrs.frozen
class FromModel:
    """The parameter takes its value from this field of the model config unless the preset sets it."""

    field: str


@attrs.frozen(kw_only=True)
class Option:
    """One keyword argument of a plugin's constructor.

    ``settable`` is False for what only the caller can supply (modules, factories, ``hidden_size``).
    """

    name: str
    type: Any
    default: Any = inspect.Parameter.empty
    range: Range | None = None
    from_model: str | None = None
    settable: bool = True

    @property
    def required(self) -> bool:
        """Whether the constructor has no default for it."""
        return self.default is inspect.Parameter.empty


SUPPLIED = frozenset({"hidden_size", "ffn_hidden_size", "causal", "place", "head_dim", "params", "model"})
"""Names that the caller passes to whoever has them in the signature; presets never set them."""


def read_options(plugin: Callable[..., Any]) -> dict[str, Option]:
    """Read the options of a plugin from its constructor signature, in order.

    Raises:
        PluginError: the signature has ``**kwargs`` or an annotation that cannot be resolved.
    """
    function = plugin.__init__ if inspect.isclass(plugin) else plugin
    where = f"{getattr(plugin, '__module__', '?')}:{getattr(plugin, '__qualname__', plugin)}"
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise PluginError(f"{where}: the annotation of an option cannot be resolved: {error}") from error
    options = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            raise PluginError(f"{where}: **{name} hides the options; name every keyword argument")
        base, extras = _split(hints.get(name, Any))
        options[name] = Option(
            name=name,
            type=base,
            default=parameter.default,
            range=next((e for e in extras if isinstance(e, Range)), None),
            from_model=next((e.field for e in extras if isinstance(e, FromModel)), None),
            settable=name not in SUPPLIED and is_plain(base),
        )
    return options


def _split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is Annotated:
        base, *extras = get_args(hint)
        return base, tuple(extras)
    return hint, ()


def is_plain(hint: Any) -> bool:
    """Whether YAML can write a value of this type: numbers, strings, choices, lists and mappings of them."""
    hint, _ = _split(hint)
    if hint in SCALARS or get_origin(hint) is Literal:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_plain(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) in (list, tuple, dict, collections.abc.Sequence, collections.abc.Mapping):
        return all(part is Ellipsis or is_plain(part) for part in get_args(hint))
    return False


def mismatch(value: Any, hint: Any, bounds: Range | None = None) -> str | None:
    """Say what was expected when a plain value does not fit a type, else None; nothing is coerced.

    The one widening: an int fits a float.
    """
    hint, extras = _split(hint)
    bounds = next((e for e in extras if isinstance(e, Range)), bounds)
    if not _fits(value, hint):
        return f"expected {describe(hint)}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if bounds is not None and is_number and value not in bounds:
        return f"expected a number {bounds}"
    return None


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in args)
    if origin in (Union, types.UnionType):
        return any(mismatch(value, part) is None for part in args)
    if origin in (list, collections.abc.Sequence):
        return isinstance(value, (list, tuple)) and all(mismatch(v, args[0]) is None for v in value)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(mismatch(v, args[0]) is None for v in value)
        return len(value) == len(args) and all(
            mismatch(v, a) is None for v, a in zip(value, args, strict=True)
        )
    if origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping) and all(
            mismatch(k, args[0]) is None and mismatch(v, args[1]) is None for k, v in value.items()
        )
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else False


def describe(hint: Any) -> str:
    """Return a type as a reader of a preset would call it."""
    hint, _ = _split(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in args if part is type(None) or is_plain(part))
    if origin in (list, collections.abc.Sequence):
        return f"a list of {describe(args[0])}"
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"a list of {describe(args[0])}"
        return f"a list of {len(args)} values ({', '.join(describe(a) for a in args)})"
    if origin in (dict, collections.abc.Mapping):
        return f"a mapping to {describe(args[1])}"
    names = {Any: "anything", int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return "null" if hint in (None, type(None)) else names.get(hint, getattr(hint, "__name__", str(hint)))


def check_options(name: str, plugin: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Return a message for every given option that the plugin has not or does not accept, keyed by option."""
    options = {k: o for k, o in read_options(plugin).items() if o.settable}
    faults = {}
    for key, value in given.items():
        if key not in options:
            faults[key] = (
                f"{name} has no option {key!r}.{did_you_mean(key, options)} "
                f"Its options: {listed(list(options))}"
            )
        elif problem := mismatch(value, options[key].type, options[key].range):
            faults[key] = f"{name}: {key} is {value!r}; {problem}"
    return faults


def bind(
    plugin: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    supplied: Mapping[str, Any],
    model: Mapping[str, Any],
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """Return the keyword arguments with which to build a plugin.

    Args:
        plugin: the class or factory.
        options: what the preset sets for this plugin; wins over everything else.
        supplied: what the caller passes to whoever names it (``hidden_size``, ``causal``, ...).
        model: fields of the model config, passed where the signature says ``FromModel(field)``; a field
            that is absent or None leaves the plugin's own default.
        optional: names of ``options`` that may be dropped when the plugin has not got them.

    Raises:
        PluginError: an option that the plugin has not.
    """
    signature = read_options(plugin)
    arguments = {name: value for name, value in supplied.items() if name in signature}
    for name, option in signature.items():
        if option.from_model is not None and model.get(option.from_model) is not None:
            arguments[name] = model[option.from_model]
    for name, value in options.items():
        if name in signature:
            arguments[name] = value
        elif name not in optional:
            raise PluginError(
                f"{getattr(plugin, '__qualname__', plugin)} has no option {name!r}."
                f"{did_you_mean(name, signature)} Its options: {listed(list(signature))}"
            )
    return arguments
