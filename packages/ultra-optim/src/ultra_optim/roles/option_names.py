"""The names that the options of an optimizer have in presets, and what may be written for their values.

Imports no torch: reading a preset that is wrong need not wait for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_origin

from ultra_core.contracts import Range
from ultra_core.errors import closest, did_you_mean, listed
from ultra_core.plugins.signatures import mismatch, read_options
from ultra_optim.roles.option_aliases import Implied, OptionAlias, written

NonNegative = Annotated[float, Range(min=0)]
Beta = Annotated[float, Range(min=0, lt=1)]  # those of `ultra_optim.contract.checks`, which imports torch

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
"""Names of hyperparameters elsewhere, and ours: what an error about an unknown one suggests."""

GENERIC: dict[str, Any] = {
    "lr": NonNegative,
    "weight_decay": NonNegative,
    "betas": tuple[Beta, ...],
    "eps": NonNegative | tuple[NonNegative, ...],
}
"""Hyperparameters that families of presets repeat for every optimizer, for those too that have none."""

GENERIC_BARE: dict[str, Any] = {"momentum": Beta, "nesterov": bool, "ns_steps": int}
"""The same among keys that do without the name of the optimizer."""


class OptionNames:
    """What the options of one optimizer are called.

    Args:
        prefix: the optimizer's name.
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
        """Names that need no notice."""
        self.names: dict[str, OptionAlias] = {**own, **short, **declared}
        why: Mapping[str, str] = getattr(cls, "idle_options", {})
        self.implied: Mapping[str, Implied] = getattr(cls, "implied_options", {})
        absent = [name for name in GENERIC if name not in self.options]
        absent += [name for name, of in ALIASES.items() if of in absent]
        self.idle: dict[str, Any] = dict.fromkeys(why, Any) | {
            name: GENERIC[ALIASES.get(name, name)] for name in absent
        }
        self.idle |= {name: Literal[option.values] for name, option in self.implied.items()}
        """Names that are accepted and do nothing, with the types of their values."""

    def strip(self, key: str, prefixes: Iterable[str], bare: bool) -> tuple[str, str | None]:
        """Return a key without ``<optimizer>-``, and what is wrong with its prefix."""
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
        """Return (name of an option, role or ""); a whole name wins, then the longest."""
        return _split(rest, self.names, self.roles)

    def split_idle(self, rest: str, bare: bool) -> tuple[str, str] | None:
        """Return (name, role or "") of a key that is accepted and does nothing."""
        return _split(rest, self.idle | (GENERIC_BARE if bare else {}), self.roles)

    def idle_problem(self, name: str, value: Any) -> str | None:
        """Return what is wrong with the value of a name that does nothing."""
        problem = mismatch(value, self.idle.get(name) or GENERIC_BARE[name])
        if problem and name in self.implied:
            said = " or ".join(written(known) for known in self.implied[name].values)
            return f"{name} is {written(value)}; {self.implied[name].why}: write {said}, or leave it out"
        return f"{name} is {value!r}; {problem}" if problem else None

    def complete(self, option: str, value: Any, default: Any) -> Any:
        """Return a value that was cut for an optimizer with fewer numbers with the rest of another.

        One number is the first of ``eps``, two are the first of ``betas``; any other value stays as it is.
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
        """Return what is said of a key that names no option; what is close to it only if it is compared."""
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
            f"{self.prefix} has no hyperparameter {rest!r}, and {role!r} is no role, which could have "
            f"{name!r} of its own.{close} Its hyperparameters: {self._all()}. {roles}"
        )

    def _hint(self, rest: str) -> str:
        """Return which name, with its role, an unknown one is close to; empty when that is none."""
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
        """Return the name of an option, with its role, that has another name elsewhere."""
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
