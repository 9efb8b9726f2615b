"""The rules of model classes, entries of the group ``ultra.models``."""

from __future__ import annotations

from collections.abc import Mapping

from ultra_core.testing import Finding, Rules
from ultra_train.testing.cases import ModelCase
from ultra_train.testing.imports import check_import, check_light

MODEL_RULES = Rules()
"""The rules of model classes by id, in order; a rule is called with a :class:`ModelCase`."""


@MODEL_RULES("C1", gate=True, least="quick")
def has_what_presets_need(case: ModelCase) -> None:
    """It has a summary, ``defaults`` and a ``model_class``, and the name of its entry point.

    Fix: ``model = ModelPlugin(name=..., summary=..., defaults={...})`` of ``ultra_blocks.models.base``.
    """
    check_import(case.entry)
    model = case.plugin
    for attribute, kind in (("summary", str), ("defaults", Mapping), ("model_class", str), ("name", str)):
        value = getattr(model, attribute, None)
        if not isinstance(value, kind) or (kind is str and not value):
            raise Finding(f"{case.entry.target} has the {attribute} {value!r}")
    if model.name != case.name:
        raise Finding(f"its name is {model.name!r}, and that of its entry point {case.name!r}")


@MODEL_RULES("M1")
def is_light(case: ModelCase) -> None:
    """Its module imports no torch: it is imported when a preset is checked.

    Fix: name the class to train as a string, ``model_class="module:Class"``.
    """
    check_light(case.entry)


@MODEL_RULES("M2", least="quick")
def has_valid_defaults(case: ModelCase) -> None:
    """The defaults are fields of a model that go together.

    Fix: see ``ultra-train schema`` for the fields of the section ``model``.
    """
    try:
        case.plugin.config()
    except Exception as error:
        raise Finding(f"a config of the defaults raises {type(error).__name__}: {error}") from error


@MODEL_RULES("M3", after=("M2",))
def builds(case: ModelCase) -> None:
    """``model_class`` can be imported, and builds a model from a config of the defaults.

    Fix: it is a transformers model whose ``config_class`` has ``from_ultra``, as ``ultra_blocks.hf`` has.
    """
    import torch

    try:
        cls = case.plugin.load()
        with torch.device("meta"):
            cls(cls.config_class.from_ultra(case.plugin.config()))
    except Exception as error:
        where = f"{case.plugin.model_class} of the defaults"
        raise Finding(f"{where} raises {type(error).__name__}: {error}") from error
