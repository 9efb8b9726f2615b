"""Reads the constructor signature of a plugin, which is the schema of its options.

A plugin is an ordinary class with typed keyword arguments. ``Annotated[int, Range(min=1)]`` and
``Literal[...]`` declare ranges and choices; ``Annotated[int, FromModel("num_heads")]`` declares that the
value comes from the model config unless the preset sets it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_type_hints

from ultra_core.contracts import FromModel, Range
from ultra_core.errors import PluginError, did_you_mean, listed
from ultra_core.plugins.types import is_plain, mismatch, range_of, split

__all__ = [
    "SUPPLIED",
    "Option",
    "bind",
    "check_options",
    "is_plain",
    "mismatch",
    "read_options",
    "require",
]

SUPPLIED = frozenset({"hidden_size", "ffn_hidden_size", "causal", "place", "head_dim", "params", "model"})
"""Arguments that the caller passes to every signature that has them; presets never set them."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One keyword argument of a plugin's constructor.

    ``settable`` is False when only the caller can supply it (modules, factories, ``hidden_size``).
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


def read_options(plugin: Callable[..., Any]) -> dict[str, Option]:
    """Read the options of a plugin from its constructor signature, in order.

    Raises:
        PluginError: the signature has ``**kwargs`` or an annotation that cannot be resolved.
    """
    function = plugin.__init__ if inspect.isclass(plugin) else plugin
    # thousands of layers have the same few signatures
    known = _read if isinstance(plugin, Hashable) else _read.__wrapped__
    return dict(known(plugin, function))


@lru_cache(maxsize=512)
def _read(plugin: Callable[..., Any], function: Callable[..., Any]) -> dict[str, Option]:
    where = f"{getattr(plugin, '__module__', '?')}:{getattr(plugin, '__qualname__', plugin)}"
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        raise PluginError(f"{where}: the signature cannot be read: {error}") from error
    if inspect.isclass(plugin):
        parameters = parameters[1:]
        if all(p.kind in _VARIADIC for p in parameters) and "__init__" not in vars(plugin):
            return {}  # the inherited constructor of `object` or `nn.Module`
    options = {}
    for parameter in parameters:
        name = parameter.name
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            raise PluginError(f"{where}: **{name} hides the options; name every keyword argument")
        base, extras = split(hints.get(name, Any))
        options[name] = Option(
            name=name,
            type=base,
            default=parameter.default,
            range=range_of(extras),
            from_model=next((e.field for e in extras if isinstance(e, FromModel)), None),
            settable=name not in SUPPLIED and is_plain(base),
        )
    return options


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check_options(name: str, plugin: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Return a message for every given option that the plugin lacks or does not accept, keyed by option."""
    every = read_options(plugin)
    options = {k: o for k, o in every.items() if o.settable}
    faults = {}
    for key, value in given.items():
        if key in every and every[key].type is Any and key not in SUPPLIED:
            faults[key] = f"{name}: {key} has no type to check a value against; annotate it: {key}: float"
        elif key not in options:
            faults[key] = f"{name} has no option {key!r}.{did_you_mean(str(key), options)} {_all(options)}"
        elif problem := mismatch(value, options[key].type, options[key].range):
            faults[key] = f"{name}: {key} is {value!r}; {problem}"
    return faults


def require(plugin: Callable[..., Any], **given: Any) -> None:
    """Raise unless values are within the ranges and choices that the signature of a plugin declares.

    Constructors, which are called without a preset too, begin with it::

        require(RetNet, chunk_size=chunk_size, decay_init=decay_init)

    A base class calls ``require(type(self), ...)``; names that the signature lacks are ignored.

    Raises:
        ValueError: some are not; the message lists all of them.
    """
    known = read_options(plugin)
    declared = {name: value for name, value in given.items() if name in known}
    if faults := check_options(getattr(plugin, "__qualname__", str(plugin)), plugin, declared):
        raise ValueError("; ".join(faults.values()))


def _all(options: Mapping[str, Option]) -> str:
    return f"Its options: {listed(list(options))}"


def bind(
    plugin: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    supplied: Mapping[str, Any],
    model: Mapping[str, Any],
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """Return the keyword arguments for the constructor of a plugin.

    Args:
        plugin: the class or factory.
        options: what the preset sets for this plugin; takes precedence over everything else.
        supplied: arguments of the caller for signatures that have them (``hidden_size``, ``causal``, ...).
        model: fields of the model config, for parameters that declare ``FromModel(field)``; a field that is
            missing or None leaves the default of the plugin.
        optional: names of ``options`` that are dropped when the plugin lacks them.

    Raises:
        PluginError: the plugin lacks an option.
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
                f"{did_you_mean(name, signature)} {_all(signature)}"
            )
    return arguments
