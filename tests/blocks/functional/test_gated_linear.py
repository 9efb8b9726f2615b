"""Gated linear recurrences in chunks against the plain forms, and where decays are extreme."""

import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.functional import gated_linear as gated_linear_module
from ultra_blocks.functional.gated_linear import gated_linear, gated_step
from ultra_blocks.reference import gated_linear as reference

FORMS = ["one direction", "shared keys", "own keys"]


def drawn(length, form, rows=2, heads=2, d_k=3, d_v=5, dtype=torch.float64):
    g = torch.Generator().manual_seed(length)

    def normal(width):
        return torch.randn(rows, length, heads, width, generator=g, dtype=dtype).requires_grad_()

    directions = 1 if form == "one direction" else 2
    q, v, k = normal(d_k), normal(d_v), normal(d_k)
    keys = [k, normal(d_k)] if form == "own keys" else [k] * directions
    logs = [F.logsigmoid(2 * normal(d_k)).detach().requires_grad_() for _ in range(directions)]
    return q, keys, v, logs


def plainly(q, keys, v, logs, lengths=None):
    """Row by row, head by head, document by document."""
    cuts = [lengths or [q.shape[1]]] * len(q)
    rows = []
    for b, cut in enumerate(cuts):
        heads = []
        for h in range(q.shape[2]):
            parts = [x[b, :, h].split(cut) for x in (q, v, *keys, *logs)]
            documents = []
            for Q, V, *rest in zip(*parts, strict=True):
                K, alpha = rest[: len(keys)], [x.exp() for x in rest[len(keys) :]]
                one = len(keys) == 1
                documents.append(
                    reference.recurrent(Q, K[0], V, alpha[0]) if one else reference.both(Q, K, V, alpha)
                )
            heads.append(torch.cat(documents))
        rows.append(torch.stack(heads, 1))
    return torch.stack(rows)


def leaves(q, keys, v, logs):
    return [q, v, *({id(k): k for k in keys}.values()), *logs]


def compare(ours, theirs, inputs, limit):
    weights = torch.randn(theirs.shape, dtype=theirs.dtype, generator=torch.Generator().manual_seed(9))
    assert (ours - theirs).abs().max() < limit * theirs.abs().max()
    found = torch.autograd.grad((ours * weights).sum(), inputs)
    wanted = torch.autograd.grad((theirs * weights).sum(), inputs)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() < limit * (b.abs().max() + 1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("length", "chunk_size"), [(1, 4), (2, 1), (3, 2), (7, 64), (16, 4), (17, 3), (37, 4), (37, 16)]
)
def test_chunks_are_the_recurrence(length, chunk_size, form):
    given = drawn(length, form)
    compare(gated_linear(*given, chunk_size=chunk_size), plainly(*given), leaves(*given), 1e-12)


def test_many_chunks():
    """More chunks than one matrix of decays between chunks connects."""
    given = drawn(75, "own keys", rows=1, heads=1)
    compare(gated_linear(*given, chunk_size=2), plainly(*given), leaves(*given), 1e-12)


@pytest.mark.parametrize(
    ("length", "cut"), [(1, (1, 1)), (5, (1, 8)), (128, (1, 128)), (130, (3, 64)), (200, (2, 128))]
)
def test_little_is_filled_up(length, cut, monkeypatch):
    cuts = set()
    whole = gated_linear_module.to_chunks
    monkeypatch.setattr(gated_linear_module, "to_chunks", lambda x, *cut: (cuts.add(cut), whole(x, *cut))[1])
    gated_linear(*drawn(length, "shared keys", rows=1), chunk_size=100)
    assert cuts == {cut}


def test_recurrence_is_the_parallel_form():
    (q, (k,), v, (logs,)) = drawn(11, "one direction", rows=1, heads=1)
    Q, K, V, alpha = (x[0, :, 0] for x in (q, k, v, logs.exp()))
    assert (reference.recurrent(Q, K, V, alpha) - reference.parallel(Q, K, V, alpha)).abs().max() < 1e-13


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk_size", [2, 4, 32])
def test_documents_are_strangers(chunk_size, form):
    """Documents of one token, of several chunks, borders on borders of chunks; padding behind them."""
    lengths = [1, 3, 4, 11, 2]
    given = drawn(21, form)
    documents = torch.tensor([d for d, n in enumerate(lengths) for _ in range(n)] + [-1] * 3).expand(2, -1)
    q, keys, v, logs = given
    filled = [F.pad(x, (0, 0, 0, 0, 0, 3)) for x in (q, v, *keys, *logs)]
    n = len(keys)
    padded_keys = [filled[2]] * n if keys[0] is keys[-1] else filled[2:4]
    y = gated_linear(
        filled[0], padded_keys, filled[1], filled[-n:], chunk_size=chunk_size, documents=documents
    )[:, :21]
    compare(y, plainly(*given, lengths), leaves(*given), 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_decays_between_nothing_and_everything(form):
    """Channels that forget all, that keep all, and both by turns; the paper's quotients would be infinite."""
    q, keys, v, logs = drawn(40, form, rows=1)
    values = torch.tensor([-float("inf"), -1e4, -90.0, -1e-9, 0.0, -0.5], dtype=torch.float64)
    g = torch.Generator().manual_seed(3)
    logs = [values[torch.randint(6, x.shape, generator=g)].requires_grad_() for x in logs]
    y, wanted = gated_linear(q, keys, v, logs, chunk_size=16), plainly(q, keys, v, logs)
    assert (y - wanted).abs().max() < 1e-12 * wanted.abs().max()
    found = torch.autograd.grad(y.sum(), leaves(q, keys, v, logs))
    assert all(x.isfinite().all() for x in found)
    wanted = torch.autograd.grad(wanted.sum(), leaves(q, keys, v, []))
    for a, b in zip(found, wanted, strict=False):
        assert (a - b).abs().max() < 1e-12 * b.abs().max()


def test_single_precision_keeps_weak_decays_behind_strong_ones():
    """Differences of cumulative sums would lose the digits of what follows a decay of exp(-1e4)."""
    q, keys, v, logs = drawn(64, "shared keys", rows=1)
    logs = [torch.full_like(x, -0.01) for x in logs]
    for x in logs:
        x[:, 5] = -1e4
    exact = gated_linear(q, keys, v, logs)
    y = gated_linear(q.float(), [k.float() for k in keys], v.float(), [x.float() for x in logs])
    assert (y - exact).abs().max() < 1e-6 * exact.abs().max()


def test_gradients_agree_with_finite_differences():
    given = drawn(6, "own keys", rows=1, heads=1, d_k=2, d_v=2)

    def function(q, v, k, other, a, b):
        return gated_linear(q, [k, other], v, [a, b], chunk_size=2)

    assert torch.autograd.gradcheck(function, leaves(*given))


def test_second_derivatives_are_refused():
    given = drawn(6, "shared keys")
    (gradient,) = torch.autograd.grad(gated_linear(*given).sum(), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_full_decays_and_states(dtype):
    q, keys, v, logs = drawn(300, "shared keys", d_k=8, d_v=8)
    exact = gated_linear(q, keys, v, logs)
    y = gated_linear(q.to(dtype), [k.to(dtype) for k in keys], v.to(dtype), [x.float() for x in logs])
    assert y.dtype == torch.float32
    assert (y - exact).norm() < 6e-3 * exact.norm()


def test_steps():
    q, (k,), v, (logs,) = drawn(9, "one direction")
    memory, outputs = torch.zeros(2, 2, 3, 5, dtype=torch.float64), []
    for t in range(9):
        y, memory = gated_step(q[:, t], k[:, t], v[:, t], logs[:, t], memory)
        outputs.append(y)
    assert (torch.stack(outputs, 1) - gated_linear(q, [k], v, [logs])).abs().max() < 1e-13
