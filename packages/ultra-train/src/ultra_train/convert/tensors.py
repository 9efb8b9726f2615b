"""Tensors by the names of one side as tensors by the names of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ultra_train.convert.family import Rule

Tensors = dict[str, Tensor]


def to_ours(theirs: Mapping[str, Tensor], rules: Sequence[Rule]) -> tuple[Tensors, list[str]]:
    """Return our tensors, and the names of theirs that no rule reads.

    Rules of tensors that a model does not have, such as biases, are passed over.

    Args:
        theirs: their tensors by name.
        rules: which are which.
    """
    found: Tensors = {}
    read: set[str] = set()
    for rule in rules:
        if all(name in theirs for name in rule.theirs):
            found[rule.ours] = torch.cat([theirs[name] for name in rule.theirs])
            read.update(rule.theirs)
    return found, [name for name in theirs if name not in read]


def to_theirs(
    ours: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], rules: Sequence[Rule]
) -> tuple[Tensors, list[str]]:
    """Return their tensors, and the names of ours that no rule reads.

    Args:
        ours: our tensors by name.
        shapes: the shapes of theirs by name.
        rules: which are which.
    """
    found: Tensors = {}
    read: set[str] = set()
    for rule in rules:
        if rule.ours in ours and all(name in shapes for name in rule.theirs):
            parts = ours[rule.ours].split([shapes[name][0] for name in rule.theirs])
            found.update(zip(rule.theirs, (part.clone() for part in parts), strict=True))
            read.add(rule.ours)
    return found, [name for name in ours if name not in read]
