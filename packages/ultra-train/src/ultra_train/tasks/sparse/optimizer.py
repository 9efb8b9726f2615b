"""The optimizer of a sparse preset: AdamW, or the plugin that ``training.optimizer`` names."""

from __future__ import annotations

from typing import Any

from ultra_train.config.optimizer import OptimizerConfig
from ultra_train.config.optimizer_section import OptimizerSection
from ultra_train.config.roles import ROLES_OF_TRANSFORMERS
from ultra_train.tasks.sparse.preset import SparseFile

QUERY = "query"
"""Role of the weights of the static query embedding."""

DEFAULT = OptimizerConfig(
    optimizer_class="adamw", parameters={"adamw-betas": (0.9, 0.999), "adamw-eps": 1e-8}
)
"""The optimizer of sentence-transformers."""


def role_of_pattern(number: int) -> str:
    """Return the role of the parameters that a pattern of ``router.learning_rate_patterns`` chooses."""
    return f"pattern{number}"


def section_of(preset: SparseFile) -> OptimizerSection:
    """Return the optimizer section, or what stands for it when the file has none."""
    return OptimizerSection(
        config=preset.training.optimizer or DEFAULT,
        path=("training", "optimizer"),
        roles=ROLES_OF_TRANSFORMERS | {QUERY},
        displaces="training.learning_rate",
    )


def complete_optimizer(preset: SparseFile) -> OptimizerConfig:
    """Return the optimizer with the learning rates and the weight decay of ``training``.

    What the optimizer section sets wins over ``learning_rate``, ``weight_decay`` and
    ``query_learning_rate``. An optimizer that takes the learning rates of roles as multiples of its own gets
    the ratios of these.

    Args:
        preset: the sections, without faults.
    """
    training, section = preset.training, section_of(preset)
    own, parsed = section.canonical, section.parsed
    base = parsed.options.get("lr", training.learning_rate)
    unit = base if section.traits.one_lr else 1.0
    added: dict[str, Any] = {"lr": training.learning_rate}
    if "weight_decay" not in parsed.options:
        added["weight_decay"] = training.weight_decay
    if trains_query_weights(preset) and training.query_learning_rate is not None:
        added[f"lr_{QUERY}"] = training.query_learning_rate / unit
    for number, rate in enumerate(preset.router.learning_rate_patterns.values(), start=1):
        added[f"lr_{role_of_pattern(number)}"] = rate / unit
    parameters = {f"{section.name.rpartition(':')[2]}-{key}": value for key, value in added.items()}
    return OptimizerConfig(optimizer_class=own.optimizer_class, parameters={**parameters, **own.parameters})


def trains_query_weights(preset: SparseFile) -> bool:
    """Whether queries have static weights that are trained."""
    model = preset.model
    return model.architecture == "inference-free-splade" and not model.freeze_static_embedding
