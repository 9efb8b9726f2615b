"""The names of the options of one optimizer in presets: own names, aliases, and names without effect.

Imports no torch, so that errors in a preset are reported without waiting for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_origin

from ultra_core.contracts import Range
from ultra_core.errors import closest, did_you_mean, listed
from ultra_core.plugins.signatures import mismatch, read_options
from ultra_optim.roles.option_aliases import Implied, OptionAlias, written

NonNegative = Annotated[float, Range(min=0)]
Beta = Annotated[float, Range(min=0, lt=1)]  # as in `ultra_optim.contract.checks`, which imports torch

ALIASES: dict[str, str] = {"wd": "weight_decay"}
"""Short names of hyperparameters in presets."""

SYNONYMS: dict[str, str] = {
    "learning_rate": "lr",
    "l2": "weight_decay",
    "decay": "weight_decay",
    "epsilon": "eps",
    "adam_epsilon": "eps",
    "beta": "betas",
    "beta1": "betas",
    "beta2": "betas",
    "adam_beta1": "betas",
    "adam_beta2": "betas",
}
"""Names of hyperparameters in other libraries, and ours, which errors about unknown names suggest."""

GENERIC: dict[str, Any] = {
    "lr": NonNegative,
    "weight_decay": NonNegative,
    "betas": tuple[Beta, ...],
    "eps": NonNegative | tuple[NonNegative, ...],
}
"""Hyperparameters that presets may give for every optimizer, even for one that does not have them."""

GENERIC_BARE: dict[str, Any] = {"momentum": Beta, "nesterov": bool, "ns_steps": int}
"""The same for keys without the name of the optimizer."""


class OptionNames:
    """The names that the options of one optimizer have in presets.

    Args:
        prefix: the name of the optimizer, with which keys start.
        cls: its class.
        roles: roles that may follow the name of an option.
    """

    def __init__(self, prefix: str, cls: Any, roles: Collection[str]) -> None:
        self.prefix = prefix
        self.cls = cls
        self.roles = roles
        self.options = {name: option for name, option in read_options(cls).items() if option.settable}
        own = {name: OptionAlias(name) for name in self.options}
        short = {name: OptionAlias(of) for name, of in ALIASES.items() if of in self.options}
        declared: Mapping[str, OptionAlias] = getattr(cls, "option_aliases", {})
        self.spelled = [*own, *short]
        """Names for which no notice is printed."""
        self.names: dict[str, OptionAlias] = {**own, **short, **declared}
        why: Mapping[str, str] = getattr(cls, "idle_options", {})
        self.implied: Mapping[str, Implied] = getattr(cls, "implied_options", {})
        absent = [name for name in GENERIC if name not in self.options]
        absent += [name for name, of in ALIASES.items() if of in absent]
        self.idle: dict[str, Any] = dict.fromkeys(why, Any) | {
            name: GENERIC[ALIASES.get(name, name)] for name in absent
        }
        self.idle |= {name: Literal[option.values] for name, option in self.implied.items()}
        """Names that are accepted without effect, with the types of their values."""

    def strip(self, key: str, prefixes: Iterable[str], bare: bool) -> tuple[str, str | None]:
        """Return a key without ``<optimizer>-``, and what is wrong with its prefix or None."""
        given, dash, rest = key.partition("-")
        if dash and given in prefixes:
            return rest, None
        rest = rest if dash else key
        known = self.split(rest) or self.split_idle(rest, bare)
        if known and bare and not dash:
            return rest, None
        if self.split(rest):
            advice = f"write '{self.prefix}-{rest}'"
        elif meant := self.meant(rest):
            advice = f"did you mean '{self.prefix}-{meant}'?"
        else:
            advice = f"the hyperparameters of {self.prefix} are {self._all()}"
        return rest, f"keys start with the name of the optimizer, '{self.prefix}-'; {advice}"

    def split(self, rest: str) -> tuple[str, str] | None:
        """Return (name of an option, role or ""); an exact name wins, then the longest prefix."""
        return _split(rest, self.names, self.roles)

    def split_idle(self, rest: str, bare: bool) -> tuple[str, str] | None:
        """Return (name, role or "") of a key that is accepted without effect."""
        return _split(rest, self.idle | (GENERIC_BARE if bare else {}), self.roles)

    def idle_problem(self, name: str, value: Any) -> str | None:
        """Return what is wrong with the value of a name without effect, or None."""
        problem = mismatch(value, self.idle.get(name) or GENERIC_BARE[name])
        if problem and name in self.implied:
            said = " or ".join(written(known) for known in self.implied[name].values)
            return f"{name} is {written(value)}; {self.implied[name].why}: write {said}, or leave it out"
        return f"{name} is {value!r}; {problem}" if problem else None

    def complete(self, option: str, value: Any, default: Any) -> Any:
        """Return a value that has fewer numbers than the option, completed from the default.

        A single number is the first of ``eps``, two numbers are the first of ``betas``; any other value is
        returned as it is.
        """
        known = self.options[option]
        if known.required or get_origin(known.type) is not tuple or option not in ("betas", "eps"):
            return value
        rest: Sequence[Any] = default
        if isinstance(value, (list, tuple)):
            few = option == "betas" and len(value) == 2 < len(rest)
            return [*value, *rest[len(value) :]] if few else value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return [value, *rest[1:]] if is_number and option == "eps" else value

    def unknown(self, rest: str, *, compare: bool = True) -> str:
        """Return the error for a key that names no option; similar names are suggested if ``compare``."""
        if not compare:
            return f"{self.prefix} has no hyperparameter {rest!r}"
        hint = self._hint(rest)
        longest = sorted(self.names, key=len, reverse=True)
        name = next((name for name in longest if rest.startswith(f"{name}_")), None)
        if name is None or hint:
            return f"{self.prefix} has no hyperparameter {rest!r}.{hint} Its hyperparameters: {self._all()}"
        role = rest[len(name) + 1 :]
        close, roles = did_you_mean(role, self.roles), f"Roles: {listed(sorted(self.roles))}"
        if ALIASES.get(name, name) in GENERIC and (close or "_" not in role):
            return f"unknown role {role!r}.{close} {roles}"
        return (
            f"{self.prefix} has no hyperparameter {rest!r}, and {role!r} is no role that could have its own "
            f"{name!r}.{close} Its hyperparameters: {self._all()}. {roles}"
        )

    def _hint(self, rest: str) -> str:
        """Return a suggestion of similar names with their roles; empty if there is none."""
        if meant := self.meant(rest):
            return f" Did you mean '{self.prefix}-{meant}'?"
        ends = [f"_{role}" for role in self.roles if rest.endswith(f"_{role}")]
        role = max(ends, key=len, default="")
        stem = rest.removesuffix(role)
        words = sorted(stem.split("_"))
        close = [name for name in self.names if sorted(name.split("_")) == words]
        if not close and not any(rest.startswith(f"{name}_") for name in self.names):
            close = list(closest(stem, tuple(self.names)))
        said = " or ".join(f"'{self.prefix}-{name}{role}'" for name in close)
        return f" Did you mean {said}?" if said else ""

    def meant(self, rest: str) -> str | None:
        """Return our name, with its role, of an option that has this name in another library."""
        found = _split(rest, SYNONYMS, self.roles)
        if found is None or SYNONYMS[found[0]] not in self.options:
            return None
        return f"{SYNONYMS[found[0]]}_{found[1]}" if found[1] else SYNONYMS[found[0]]

    def _all(self) -> str:
        return listed(sorted(self.spelled))


def _split(rest: str, names: Collection[str], roles: Collection[str]) -> tuple[str, str] | None:
    if rest in names:
        return rest, ""
    for name in sorted(names, key=len, reverse=True):
        if rest.startswith(f"{name}_") and rest[len(name) + 1 :] in roles:
            return name, rest[len(name) + 1 :]
    return None
