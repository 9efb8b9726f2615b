"""The names of activations; imports no torch."""

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
"""``gelu_tanh`` is gelu with ``approximate="tanh"``, ``relu2`` the square of relu.

The others are functions of ``torch.nn.functional`` with their defaults: all of one tensor, element by
element, without weights of their own or random numbers.
"""

SPELLINGS: dict[str, Activation] = {
    "swish": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu_squared": "relu2",
    "squared_relu": "relu2",
}
"""What others call them."""

_BY_LETTERS = {name.replace("_", ""): name for name in (*get_args(Activation), *SPELLINGS)}


def canonical_activation(name: str) -> str:
    """Return our name of an activation, given another or torch's class (``LeakyReLU``); else the name."""
    found = _BY_LETTERS.get(name.replace("_", "").lower(), name)
    return SPELLINGS.get(found, found)
