"""Checks of what comes out of an encoder: heads, collapsed and crowded vectors, sparsity."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ultra_train.embeddings.doctor.findings import Finding
from ultra_train.embeddings.heads import HeadReport

CROWDED = 0.6
"""Mean cosine of unrelated texts from which on vectors are called anisotropic."""

_DENSE_SHARE = 0.05
_COMMON_SHARE = 0.9


def head(report: HeadReport) -> Finding:
    """Check whether SPLADE can start from a masked language modelling head."""
    value = f"{report.positive:.2%} of the logits above 0"
    return Finding("head", value, report.advice or "SPLADE can start from it", report.usable)


def dense_space(vectors: Tensor) -> Iterator[Finding]:
    """Check the mean cosine of different texts, and how many directions their vectors use.

    The effective dimensions are the participation ratio ``(sum of e)^2 / sum of e^2`` of the eigenvalues e of
    the covariance of the vectors, scaled to length 1.

    Args:
        vectors: ``(N, D)``, of N > 1 different texts.

    Paper: Ethayarajh 2019, "How Contextual are Contextualized Word Representations?", arXiv:1909.00512.
    """
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    count = len(unit)
    cosine = float((unit.sum(0).square().sum() - count) / (count * (count - 1)))
    centred = unit - unit.mean(0)
    spectrum = torch.linalg.svdvals(centred).square()
    total = float(spectrum.sum())
    effective = total**2 / float(spectrum.square().sum()) if total > 1e-12 else 0.0
    possible = min(count - 1, vectors.shape[1])
    collapsed = effective < max(2.0, 0.02 * possible)
    yield Finding(
        "collapse",
        f"{effective:,.1f} effective of {vectors.shape[1]:,} dimensions",
        "all texts get nearly the same vector: lower the learning rate, or check the pairs and the loss"
        if collapsed
        else "the vectors differ in many directions",
        not collapsed,
    )
    crowded = cosine > CROWDED
    yield Finding(
        "anisotropy",
        f"mean cosine {cosine:.2f}",
        "unrelated texts look alike: train it with in-batch negatives (task sbert, loss multiple_negatives)"
        if crowded
        else "unrelated texts are far apart",
        not crowded,
    )


def sparse_space(name: str, vectors: Tensor) -> Finding:
    """Check how many dimensions are active, whether some texts have none, and whether all have the same.

    Args:
        name: whose vectors they are, ``queries`` or ``documents``.
        vectors: ``(N, V)``, dense or sparse.
    """
    active = (vectors.to_dense() if vectors.is_sparse else vectors) != 0
    counts = active.sum(1).double()
    empty = float((counts == 0).double().mean())
    common = int((active.double().mean(0) > _COMMON_SHARE).sum())
    mean, size = float(counts.mean()), vectors.shape[1]
    value = f"{mean:,.1f} of {size:,} active; {common:,} shared by nearly all texts"
    check = f"sparsity of {name}"
    if empty > 0:
        return Finding(
            check,
            f"{value}; {empty:.1%} empty",
            "empty texts are never found: lower the regulariser weights, or warm them up for longer",
            False,
        )
    if mean > _DENSE_SHARE * size:
        return Finding(
            check, value, "hardly sparse: raise the regulariser weights, or train for longer", False
        )
    if common > mean / 2:
        return Finding(
            check, value, "most of what is active says nothing about the text: raise the regularisers", False
        )
    return Finding(check, value, "sparse, and different from text to text")
