"""A stand-in for flash-linear-attention, whose kernels need a GPU: the same signatures, plain loops."""

import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import pytest
import torch

from ultra_blocks.functional import fla_kernels


def _loop(q, k, v, log_decay, beta, scale, initial_state, output_final_state, cu_seqlens):
    """``S' = exp(g_t) S``, ``S_t = S' + k_t^T v_t``, with beta ``+ beta_t k_t^T (v_t - k_t S')``; ``q S_t``.

    Checks what the kernels check, and what they only assume.
    """
    given = [x for x in (q, k, v, log_decay, beta) if x is not None]
    assert all(x.isfinite().all() for x in given)
    assert q.dtype == k.dtype == v.dtype
    assert q.dtype != torch.float32
    assert q.shape == k.shape
    assert all(x.shape[:3] == q.shape[:3] for x in given)
    if cu_seqlens is None:
        pieces = [(b, 0, q.shape[1]) for b in range(len(q))]
    else:
        if len(q) != 1:
            raise ValueError(
                f"The batch size is expected to be 1 rather than {len(q)} when using `cu_seqlens`."
            )
        borders = cu_seqlens.tolist()
        assert borders[0] == 0
        assert borders[-1] == q.shape[1]
        assert borders == sorted(set(borders))
        pieces = [(0, *border) for border in pairwise(borders)]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    exact = torch.promote_types(q.dtype, torch.float32)
    Q, K, V = (x.to(exact) for x in (q, k, v))
    outputs, states = [], []
    for n, (row, start, end) in enumerate(pieces):
        S = Q.new_zeros(*Q.shape[2:], V.shape[-1]) if initial_state is None else initial_state[n].to(exact)
        for t in range(start, end):
            if log_decay is not None:
                decay = log_decay[row, t].to(exact).exp()
                S = S * (decay[..., None] if decay.ndim == 1 else decay)[..., None]
            write = V[row, t]
            if beta is not None:
                write = beta[row, t, :, None] * (write - torch.einsum("hk,hkv->hv", K[row, t], S))
            S = S + torch.einsum("hk,hv->hkv", K[row, t], write)
            outputs.append(scale * torch.einsum("hk,hkv->hv", Q[row, t], S))
        states.append(S)
    o = torch.stack(outputs).unflatten(0, q.shape[:2]).to(q.dtype)
    return o, torch.stack(states) if output_final_state else None


def chunk_gla(
    q,
    k,
    v,
    g,
    scale=None,
    initial_state=None,
    output_final_state=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
):
    assert g.shape == q.shape
    return _loop(q, k, v, g, None, scale, initial_state, output_final_state, cu_seqlens)


def chunk_simple_gla(
    q,
    k,
    v,
    g=None,
    g_gamma=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    **kwargs,
):
    assert (g is None) != (g_gamma is None)
    decays = g_gamma.expand(q.shape[:3]) if g is None else g
    assert decays.shape == q.shape[:3]
    return _loop(q, k, v, decays, None, scale, initial_state, output_final_state, cu_seqlens)


def chunk_delta_rule(
    q,
    k,
    v,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    **kwargs,
):
    return _loop(q, k, v, None, beta, scale, initial_state, output_final_state, cu_seqlens)


def chunk_gated_delta_rule(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    chunk_indices=None,
    cp_context=None,
    **kwargs,
):
    assert g.shape == beta.shape
    return _loop(q, k, v, g, beta, scale, initial_state, output_final_state, cu_seqlens)


def chunk_kda(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_gate_in_kernel=False,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    safe_gate=False,
    lower_bound=None,
    disable_recompute=False,
    return_intermediate_states=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    cp_context=None,
    use_graph=False,
    max_num_seqs=None,
    **kwargs,
):
    assert g.shape == q.shape
    return _loop(q, k, v, g, beta, scale, initial_state, output_final_state, cu_seqlens)


KERNELS = (chunk_gla, chunk_simple_gla, chunk_delta_rule, chunk_gated_delta_rule, chunk_kda)


@pytest.fixture
def stand_in(monkeypatch):
    """Put it in the place of the package, usable on this device, narrow and in fp64 too; notes every call."""
    calls = []

    def noted(kernel):
        def call(**given):
            calls.append(SimpleNamespace(name=kernel.__name__, **given))
            return kernel(**given)

        return call

    ops = ModuleType("fla.ops")
    for kernel in KERNELS:
        setattr(ops, kernel.__name__, noted(kernel))
    package = ModuleType("fla")
    package.ops = ops
    monkeypatch.setitem(sys.modules, "fla", package)
    monkeypatch.setitem(sys.modules, "fla.ops", ops)
    monkeypatch.setattr(fla_kernels, "_on_gpu", lambda x: True)
    monkeypatch.setattr(fla_kernels, "DTYPES", (*fla_kernels.DTYPES, torch.float64))
    monkeypatch.setattr(fla_kernels, "NARROWEST", 1)
    monkeypatch.delenv("ULTRA_DISABLE_FLA", raising=False)
    fla_kernels._ops.cache_clear()
    yield calls
    fla_kernels._ops.cache_clear()


@pytest.fixture
def kernels():
    """The stand-in's functions."""
    return KERNELS
