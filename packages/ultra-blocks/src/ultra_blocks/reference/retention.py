"""Retention in the notation of arXiv:2307.08621, one head after another, in the order of the paper.

Shapes: Q, K ``(T, d_k)``, V ``(T, d_v)``, gamma a number, p ``(T,)`` positions, document ``(T,)`` ids.
"""

from __future__ import annotations

import torch
from torch import Tensor


def parallel(
    Q: Tensor, K: Tensor, V: Tensor, gamma: float, p: Tensor, document: Tensor, causal: bool
) -> Tensor:
    """``(Q K^T * D) V`` with ``D_nm = gamma**|p_n - p_m|`` inside a document (causal: for n >= m), else 0."""
    D = gamma ** (p[:, None] - p[None, :]).abs().to(Q.dtype)
    D = D * (document[:, None] == document[None, :])
    return (Q @ K.T * (D.tril() if causal else D)) @ V


def recurrent(Q: Tensor, K: Tensor, V: Tensor, gamma: float) -> Tensor:
    """``S_n = gamma S_{n-1} + K_n^T V_n``, ``y_n = Q_n S_n``, from ``S_{-1} = 0``."""
    S = Q.new_zeros(K.shape[1], V.shape[1])
    outputs = []
    for Q_n, K_n, V_n in zip(Q, K, V, strict=True):
        S = gamma * S + torch.outer(K_n, V_n)
        outputs.append(Q_n @ S)
    return torch.stack(outputs)


def bidirectional(Q: Tensor, K: Tensor, V: Tensor, gamma: float) -> Tensor:
    """Causal + anti-causal - diagonal, the second by running the first over the reversed sequence."""
    forward = recurrent(Q, K, V, gamma)
    backward = recurrent(Q.flip(0), K.flip(0), V.flip(0), gamma).flip(0)
    return forward + backward - (Q * K).sum(-1, keepdim=True) * V


def rotate(X: Tensor, p: Tensor, exponents: Tensor) -> Tensor:
    """Multiply the complex numbers ``x_2j + i x_2j+1`` by ``exp(i p 10000**-e_j)``."""
    theta = 10000.0**-exponents
    Z = torch.complex(X[:, 0::2], X[:, 1::2]) * torch.exp(1j * p[:, None] * theta)
    return torch.stack((Z.real, Z.imag), -1).flatten(1)
