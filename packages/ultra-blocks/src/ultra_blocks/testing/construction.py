"""The rule that comes before all others: a plugin can be built."""

from __future__ import annotations

from torch import nn

from ultra_blocks.testing.cases import Case
from ultra_core.errors import listed
from ultra_core.testing import Finding, Rules

BLOCK_RULES, NORM_RULES, FFN_RULES, POSITION_RULES = Rules(), Rules(), Rules(), Rules()
"""The rules of blocks, norms, FFNs and position codes, by id."""


def constructs(case: Case) -> None:
    """The constructor takes what a model supplies and its own defaults, and makes an ``nn.Module``.

    Fix: give every other argument a default, or pass ``options`` to the kit where the defaults do not fit.
    """
    supplied = listed([f"{name}={value!r}" for name, value in case.arguments().items()])
    try:
        module = case.cls(**case.arguments())
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise Finding(f"{case.cls.__name__}({supplied}) raises {problem}") from error
    if not isinstance(module, nn.Module):
        raise Finding(f"{case.cls.__name__}({supplied}) is a {type(module).__name__}, no nn.Module")


for rules in (BLOCK_RULES, NORM_RULES, FFN_RULES, POSITION_RULES):
    rules("C1", gate=True, least="quick")(constructs)
