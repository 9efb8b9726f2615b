"""The learning rates of an arm, and the same arm at other ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from ultra_core import optimizers
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_optim.roles.option_names import OptionNames
from ultra_train.config import Preset
from ultra_train.config.optimizer import OptimizerConfig
from ultra_train.config.roles import ROLES_OF_TRANSFORMERS, roles_of_base, roles_of_model


@attrs.frozen
class Sweep:
    """The learning rates that every arm is tried at.

    Attributes:
        numbers: factors of the arm's own rates, or learning rates; empty for the arm's own rates alone.
        absolute: whether they are learning rates. Those of roles are multiplied along, so that their ratios
            to the optimizer's learning rate stay.
    """

    numbers: tuple[float, ...] = ()
    absolute: bool = False


@attrs.frozen
class Rated:
    """An arm's preset at one learning rate.

    Attributes:
        preset: the preset.
        rate: the learning rate that stands for it, see :class:`Rates`.
        factor: by which the arm's own rates were multiplied.
    """

    preset: Preset
    rate: float
    factor: float


@attrs.frozen
class Rates:
    """The learning rates of a preset.

    Attributes:
        parameters: the parameters of the optimizer that set them; the general one, by its default, where a
            role of the model has none of its own.
        by_role: the learning rate of each role of the model.
        general: the learning rate of roles without one of their own.
        is_default: the preset sets none, so that they are the default of the optimizer.
    """

    parameters: Mapping[str, float]
    by_role: Mapping[str, float]
    general: float | None
    is_default: bool

    @property
    def rate(self) -> float:
        """The one that stands for all: the general one, or the largest where every role has its own."""
        return self.general if self.general is not None else max(self.by_role.values())

    @property
    def words(self) -> str:
        """The learning rate, or the range of those of the roles."""
        low, high = min(self.by_role.values()), max(self.by_role.values())
        return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def rated(preset: Preset, sweep: Sweep) -> list[Rated]:
    """Return a preset at every learning rate of a sweep, in ascending order.

    Raises:
        UltraError: the preset names no optimizer, or its learning rate is 0, which nothing can multiply.
    """
    rates = learning_rates(preset)
    if not sweep.numbers:
        return [Rated(preset, rates.rate, 1.0)]
    if rates.rate == 0:
        raise UltraError(f"{preset.name}: its learning rate is 0, so that there is nothing to sweep")
    factors = [number / rates.rate if sweep.absolute else number for number in sweep.numbers]
    return [Rated(_with(preset, rates, factor), rates.rate * factor, factor) for factor in factors]


def learning_rates(preset: Preset) -> Rates:
    """Return the learning rates of a preset.

    Raises:
        UltraError: the preset names no optimizer.
    """
    config = _config(preset)
    name = config.optimizer_class.rpartition(":")[2]
    roles = _roles(preset)
    names = OptionNames(name, optimizers.get(config.optimizer_class), roles | set(SEED_ROLES))
    main, own = f"{name}-lr", dict[str, float]()
    found: dict[str, float] = {}
    for key, value in config.parameters.items():
        option, role = names.split(key.partition("-")[2]) or ("", "")
        option = names.names[option].of if option else ""
        if (option == "lr" or option.endswith("_lr")) and isinstance(value, (int, float)):
            found[key] = float(value)
            if option == "lr" and role:
                own[role] = float(value)
    is_default, general = not found, None
    if main in found or not roles <= own.keys():
        general = found.setdefault(main, float(names.options["lr"].default))
    by_role = {role: own.get(role, general or 0.0) for role in roles}
    return Rates(found, by_role, None if roles <= own.keys() else general, is_default)


def _roles(preset: Preset) -> frozenset[str]:
    """Return the roles that parameters of the model have."""
    if preset.base_model is None:
        return roles_of_model(preset.model)
    return roles_of_base(preset.base_model) or ROLES_OF_TRANSFORMERS


def _config(preset: Preset) -> OptimizerConfig:
    config = preset.training.optimizer
    if config is None:
        raise UltraError(f"{preset.name} names no optimizer: set training.optimizer.optimizer_class")
    return config


def _with(preset: Preset, rates: Rates, factor: float) -> Preset:
    config = _config(preset)
    scaled = {key: float(f"{value * factor:.12g}") for key, value in rates.parameters.items()}
    parameters = {**config.parameters, **scaled}
    training = attrs.evolve(preset.training, optimizer=attrs.evolve(config, parameters=parameters))
    return attrs.evolve(preset, training=training)


def near_edge(rate: float, tried: Sequence[float]) -> bool:
    """Whether a learning rate is the smallest or largest of those that were tried."""
    return len(tried) > 1 and rate in (min(tried), max(tried))
