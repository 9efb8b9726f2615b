"""Linear recurrences by kernels of flash-linear-attention.

Each function returns the same as the chunked form of the same name in its own module, up to the rounding of
half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.delta_rule import DeltaGates
from ultra_blocks.functional.fla_kernels import read
from ultra_blocks.functional.ssd import Scan


def gated_linear(
    q: Tensor, keys: Sequence[Tensor], v: Tensor, log_decays: Sequence[Tensor], documents: Tensor | None
) -> Tensor:
    """Return the same as :func:`ultra_blocks.functional.gated_linear.gated_linear`."""
    exact = log_decays[0].dtype
    q, *keys = (x.to(v.dtype) for x in (q, *keys))
    lanes = [{"q": q, "k": k, "v": v, "g": g} for k, g in zip(keys, log_decays, strict=True)]
    y = _sum(read("chunk_gla", lanes, documents, exact))
    return y if len(lanes) == 1 else y - _match(q, (keys[0].to(exact) + keys[1]) / 2) * v


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    forward: DeltaGates,
    backward: DeltaGates | None,
    documents: Tensor | None,
) -> Tensor:
    """Return the same as :func:`ultra_blocks.functional.delta_rule.delta_rule`."""
    exact, q, k = forward.beta.dtype, q.to(v.dtype), k.to(v.dtype)
    name, lanes = "chunk_delta_rule", []
    for gates in (forward, backward):
        if gates is not None:
            lanes.append({"q": q, "k": k, "v": v, "beta": gates.beta})
            if gates.log_decay is not None:
                name = "chunk_kda" if gates.log_decay.ndim == 4 else "chunk_gated_delta_rule"
                lanes[-1]["g"] = gates.log_decay
    y = _sum(read(name, lanes, documents, exact))
    if backward is None:
        return y
    return y - _match(q, k.to(exact)) * ((forward.beta + backward.beta) / 2)[..., None] * v


def ssd(
    x: Tensor, forward: Scan, backward: Scan | None, *, shifted: bool, documents: Tensor | None
) -> Tensor:
    """Return the same as :func:`ultra_blocks.functional.ssd.ssd`."""
    exact, lanes = forward.log_decay.dtype, []
    for scan in (forward, backward):
        if scan is not None:
            shared = x.shape[2] // scan.read.shape[2]
            q, k = (y.to(x.dtype).repeat_interleave(shared, 2) for y in (scan.read, scan.write))
            v = (x * scan.log_step.exp()[..., None]).to(x.dtype)
            lanes.append({"q": q, "k": k, "v": v, "g": scan.log_decay})
    outputs = read("chunk_simple_gla", lanes, documents, exact)
    if shifted:
        return _sum([_of_neighbour(y, documents, reverse=i == 1) for i, y in enumerate(outputs)])
    own = [_match(lane["q"], lane["k"].to(exact)) * lane["v"] for lane in lanes]
    return _sum(outputs) - _sum(own)


class RetentionSteps(NamedTuple):
    """Numbers of positions from token to token, over which retention decays.

    Attributes:
        log_gammas: ``(H,)``, log decay per position.
        before: ``(B, T)``, positions since the preceding real token; None: 1 each.
        after: ``(B, T)``, positions to the next real token.
        documents: ``(B, T)`` ids, -1 at padding, which may be anywhere.
    """

    log_gammas: Tensor
    before: Tensor | None = None
    after: Tensor | None = None
    documents: Tensor | None = None


def retention_steps(
    log_gammas: Sequence[float],
    *,
    dtype: torch.dtype,
    device: torch.device,
    documents: Tensor | None = None,
    positions: Tensor | None = None,
) -> RetentionSteps:
    """Return the steps of a batch; arguments as in :func:`ultra_blocks.functional.retention.chunk_decays`."""
    logs = torch.tensor(log_gammas, dtype=dtype, device=device)
    if documents is None or positions is None:
        return RetentionSteps(logs)
    # as there, one number per token; padding has that of the preceding (in `ahead`, of the next) real token
    real, never = documents >= 0, 2**62
    clock = torch.where(real, documents * 2**32 + positions, -1).cummax(1).values
    ahead = torch.where(real, clock, never).flip(1).cummin(1).values.flip(1)
    before, after = clock[:, 1:] - clock[:, :-1], ahead[:, 1:] - clock[:, :-1]
    # the state is empty at the start of a document, so that its decay there does not matter
    before, after = (torch.where(x < 2**31, x, 0) for x in (before, after))
    return RetentionSteps(logs, F.pad(before, (1, 0)), F.pad(after, (0, 1)), documents)


def retention(
    q: Tensor, k: Tensor, v: Tensor, steps: RetentionSteps, *, causal: bool, reverse: bool = False
) -> Tensor:
    """Return the same as :func:`ultra_blocks.functional.retention.retention`."""
    exact = torch.promote_types(v.dtype, torch.float32)
    order = (reverse,) if causal else (False, True)
    lanes = [{"q": q.to(v.dtype), "k": k.to(v.dtype), "v": v} for _ in order]
    if steps.before is None or steps.after is None:
        outputs = read("chunk_simple_gla", lanes, None, exact, order=order, g_gamma=steps.log_gammas)
    else:
        for lane, back in zip(lanes, order, strict=True):
            lane["g"] = (steps.after if back else steps.before)[..., None] * steps.log_gammas
        outputs = read("chunk_simple_gla", lanes, steps.documents, exact, order=order)
    return outputs[0] if causal else _sum(outputs) - _match(lanes[0]["q"], lanes[0]["k"].to(exact)) * v


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum over one direction or two."""
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _match(q: Tensor, k: Tensor) -> Tensor:
    """Return ``q . k`` of each token, ``(B, T, H, 1)``."""
    return (q * k).sum(-1, keepdim=True)


def _of_neighbour(y: Tensor, documents: Tensor | None, *, reverse: bool) -> Tensor:
    """Return the output of the preceding (``reverse``: next) token of the same document, or 0."""
    move = (-1, 1) if reverse else (1, -1)
    y = F.pad(y, (0, 0, 0, 0, *move))
    if documents is None:
        return y
    return y * (F.pad(documents, move, value=-1) == documents)[..., None, None]
