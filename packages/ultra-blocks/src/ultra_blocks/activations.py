"""Names of activations and their aliases; imports no torch."""

from __future__ import annotations

from typing import Literal, get_args

Activation = Literal[
    "gelu",
    "gelu_tanh",
    "silu",
    "relu",
    "relu2",
    "celu",
    "elu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu6",
    "selu",
    "sigmoid",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
]
"""``gelu_tanh`` is gelu with ``approximate="tanh"``, and ``relu2`` is the square of relu.

The others are functions of ``torch.nn.functional`` with default arguments: all element-wise functions of one
tensor, without weights and random numbers.
"""

SPELLINGS: dict[str, Activation] = {
    "swish": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu_squared": "relu2",
    "squared_relu": "relu2",
}
"""Aliases."""

_BY_LETTERS = {name.replace("_", ""): name for name in (*get_args(Activation), *SPELLINGS)}


def canonical_activation(name: str) -> str:
    """Return the canonical name of an activation, given an alias or a class of torch (``LeakyReLU``).

    Unknown names are returned unchanged.
    """
    found = _BY_LETTERS.get(name.replace("_", "").lower(), name)
    return SPELLINGS.get(found, found)
