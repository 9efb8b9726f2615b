"""Building an optimizer from its section: over the model of a run, or on the meta device to check it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ultra_blocks.config import UltraConfig
from ultra_core import optimizers
from ultra_core.config import KeyPath
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_optim.roles.preset_keys import parse_parameters
from ultra_train.config.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ultra_train.config.optimizer_section import OptimizerSection

ANY = UltraConfig(vocab_size=8, hidden_size=8, num_layers=1, num_heads=2, use_moe=False, ffn_hidden_size=8)
"""Stands for a base model, which is not loaded."""


def build_optimizer(
    config: OptimizerConfig | None,
    modules: Sequence[nn.Module],
    *,
    updates: int,
    roles: Collection[str] = (),
) -> Optimizer:
    """Build the optimizer of a preset over modules.

    Values for roles that no parameter has are left out; the preset's notices have listed them.

    Args:
        config: the canonical section.
        modules: the model, and losses that own parameters.
        updates: how many the run has, which optimizers with a schedule of their own follow to its end.
        roles: further roles that parameters of the optimizer may name.

    Raises:
        UltraError: there is no such optimizer, or it does not have these parameters.
    """
    import ultra_optim

    if config is None:
        raise UltraError("the preset names no optimizer: set training.optimizer.optimizer_class")
    present = {info.role for info in ultra_optim.describe(modules).values()}
    known = {*present, *SEED_ROLES, *roles}
    parsed = parse_parameters(config.optimizer_class, config.parameters, roles=known)
    if parsed.faults:
        raise UltraError("; ".join(f"training.optimizer.parameters.{k}: {m}" for k, m in parsed.faults))
    options: dict[str, Any] = {"total_steps": updates, **parsed.options}
    own = {role: values for role, values in parsed.roles.items() if role in present}
    return ultra_optim.build(config.optimizer_class, modules, roles=own, **options)


def build_faults(
    section: OptimizerSection, model: UltraConfig | None, *, updates: int
) -> Iterator[tuple[KeyPath, str]]:
    """Yield why an optimizer cannot be built although each of its options is valid.

    It is built over the model on the meta device.

    Args:
        section: without other faults.
        model: of the preset; None for a base model.
        updates: how many the run has.
    """
    from ultra_blocks.encoder.sample import sample_encoder  # imports torch

    try:
        sample = [sample_encoder(model or ANY)]
        build_optimizer(section.canonical, sample, updates=updates, roles=section.roles)
    except UltraError as error:
        yield section.parameters_path, str(error)
    except Exception as error:
        entry = optimizers.entry(section.canonical.optimizer_class)
        yield (
            section.parameters_path,
            f"the optimizer {entry.name!r} of {entry.distribution} {entry.version} cannot be built: "
            f"{type(error).__name__}: {error}",
        )
