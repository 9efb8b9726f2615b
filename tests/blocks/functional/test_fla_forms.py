"""Kernels of flash-linear-attention against our torch path, with a stand-in and, on a GPU, for real."""

import importlib.util
import inspect

import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.functional.delta_rule import DeltaGates
from ultra_blocks.functional.dispatch import delta_rule, gated_linear, ssd
from ultra_blocks.functional.ssd import Scan
from ultra_blocks.layout import Layout
from ultra_core import blocks

T = 11
DOCUMENTS = torch.tensor([[0] * 4 + [1] + [2] * 5 + [-1], [0] * T, [0] * 2 + [1] * 6 + [-1] * 3])
ENDS = torch.tensor([T, 7, 4])  # real tokens of rows that are a document each

BLOCKS = [
    ("gla", {}, "chunk_gla"),
    ("hgrn2", {}, "chunk_gla"),
    ("hgrn2", {"lower_bound": 0.5}, "chunk_gla"),
    ("deltanet", {}, "chunk_delta_rule"),
    ("deltanet", {"negative_eigenvalues": True}, "chunk_delta_rule"),
    ("gated_deltanet", {}, "chunk_gated_delta_rule"),
    ("kda", {}, "chunk_kda"),
    ("mamba", {}, "chunk_simple_gla"),
    ("mamba", {"bidirectional_form": "sum"}, "chunk_simple_gla"),
    ("mamba", {"num_groups": 2, "head_size": 4}, "chunk_simple_gla"),
    ("retnet", {}, "chunk_simple_gla"),
    ("retnet", {"bidirectional_form": "split", "decay_init": "linspace"}, "chunk_simple_gla"),
]


def named(case):
    return case if isinstance(case, str) else "-".join(map(str, case.values())) if case else "plain"


def layouts(device="cpu", times=1):
    """Padding on the right, on the left, inside, rows without a token, packed rows, positions with gaps."""
    columns = torch.arange(T)
    holes = (columns % 3 != 1) & (columns > 0)
    sparse = torch.stack([holes, columns >= 5, columns < 0])
    right, nothing = columns < ENDS[:, None], torch.zeros(3, T, dtype=torch.bool)
    right, sparse, nothing, documents = (
        x.repeat_interleave(times, 1).to(device) for x in (right, sparse, nothing, DOCUMENTS)
    )
    packed = documents >= 0
    gaps = torch.where(packed, 2 * torch.arange(times * T, device=device), 0)
    return {
        "none": None,
        "full": Layout.full(3, times * T, device),
        "right": Layout.from_mask(right),
        "anywhere": Layout.from_mask(sparse),
        "nothing": Layout.from_mask(nothing),
        "packed": Layout.from_mask(packed, documents),
        "gaps": Layout.from_mask(packed, documents, gaps),
    }


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def with_gradients(function, *leaves):
    """The output and the gradients of a weighted sum of it."""
    y = function()
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


def both_ways(function, leaves, monkeypatch):
    """What kernels give, then what torch gives."""
    found = with_gradients(function, *leaves)
    monkeypatch.setenv("ULTRA_DISABLE_FLA", "1")
    return found, with_gradients(function, *leaves)


def compare(found, wanted, limit):
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert (a - b).abs().max() < limit * (b.abs().max() + 1e-3)


@pytest.mark.parametrize("kind", layouts())
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("name", "options", "kernel"), BLOCKS, ids=named)
def test_blocks_give_what_they_give_without(name, options, kernel, causal, kind, stand_in, monkeypatch):
    torch.manual_seed(0)
    block = blocks.get(name)(16, causal=causal, **options).double()
    block.reset_parameters(std=0.5)
    x, layout = drawn(3, T, 16), layouts()[kind]
    found, wanted = both_ways(lambda: block(x, layout), [x, *block.parameters()], monkeypatch)
    compare(found, wanted, 1e-10)
    assert {call.name for call in stand_in} == {kernel}
    assert len(stand_in) == (2 if "split" in options.values() and not causal else 1)


@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["rows", "documents"])
@pytest.mark.parametrize("directions", [1, 2])
def test_decays_that_forget_everything(directions, documents, stand_in, monkeypatch):
    q, k, v = drawn(3, T, 2, 4), drawn(3, T, 2, 4, seed=1), drawn(3, T, 2, 5, seed=2)
    v = v.detach() * (DOCUMENTS >= 0)[..., None, None]
    logs = [F.logsigmoid(drawn(3, T, 2, 4, seed=3 + i)).detach() for i in range(directions)]
    for log in logs:
        log[:, 3] = log[:, 5:7, :, 1] = float("-inf")
    beta, numbers = drawn(3, T, 2, seed=6).sigmoid().detach(), [log[..., 1] for log in logs]
    unit = F.normalize(k.detach(), dim=-1).requires_grad_()
    given = [DeltaGates(beta, log) for log in logs], [DeltaGates(beta, log) for log in numbers]
    scans = [Scan(q, unit, log, beta.log()) for log in numbers]
    for function in (
        lambda: gated_linear(q, [unit] * directions, v, logs, documents=documents),
        lambda: delta_rule(q, unit, v, *given[0], documents=documents),
        lambda: delta_rule(q, unit, v, *given[1], documents=documents),
        lambda: ssd(v, *scans, documents=documents),
        lambda: ssd(v, *scans, documents=documents, shifted=True),
    ):
        monkeypatch.delenv("ULTRA_DISABLE_FLA", raising=False)
        found, wanted = both_ways(function, (q, unit), monkeypatch)
        compare(found, wanted, 1e-10)
    assert len(stand_in) == 5


@pytest.mark.parametrize(("name", "options", "kernel"), BLOCKS, ids=named)
def test_half_precision_under_autocast(name, options, kernel, stand_in, monkeypatch):
    """Kernels get activations in half precision, gates in full; the error is that of half precision."""
    torch.manual_seed(0)
    block = blocks.get(name)(32, **options)
    block.reset_parameters(std=0.2)
    x, layout = drawn(3, T, 32, dtype=torch.float32), layouts()["packed"]
    exact = block(x, layout)
    assert not stand_in
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x, layout)
    (call,) = stand_in if "split" not in options.values() else stand_in[:1]
    assert call.q.dtype == call.k.dtype == call.v.dtype == torch.bfloat16
    assert all(getattr(call, gate, call.v.float()).dtype == torch.float32 for gate in ("g", "beta"))
    assert (half - exact).norm() < 2e-2 * exact.norm()


def test_documents_are_found_once_for_all_layers(stand_in):
    """And the borders are the same tensor, by which the package remembers what it makes of them."""
    layers = [blocks.get(name)(16).double() for name in ("gla", "deltanet", "mamba", "gla")]
    x, layout = drawn(3, T, 16), layouts()["packed"]
    for layer in layers:
        x = layer(x, layout)
    borders = [call.cu_seqlens for call in stand_in]
    assert all(border is borders[0] for border in borders)
    assert borders[0].tolist() == [0, 4, 5, 10, 21, 23, 29, 35, 37, 48, 53, 54, 58]


needs_package = pytest.mark.skipif(
    importlib.util.find_spec("fla") is None, reason="flash-linear-attention is not installed"
)
needs_both = pytest.mark.skipif(
    importlib.util.find_spec("fla") is None or not torch.cuda.is_available(),
    reason="needs a CUDA device and flash-linear-attention (the extra fla)",
)


@needs_package
def test_the_package_has_the_signatures_of_the_stand_in(kernels):
    ops = pytest.importorskip("fla.ops", exc_type=Exception)
    for kernel in kernels:
        real = inspect.signature(getattr(ops, kernel.__name__)).parameters.values()
        ours = inspect.signature(kernel).parameters.values()
        assert [(p.name, p.kind, p.default) for p in real] == [(p.name, p.kind, p.default) for p in ours]


@needs_both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize(("name", "options", "kernel"), BLOCKS, ids=named)
def test_on_a_gpu(name, options, kernel, dtype, monkeypatch):
    """The real kernels are no farther from fp32 than our torch path in half precision, give or take."""
    torch.manual_seed(0)
    heads = {} if name == "mamba" else {"num_heads": 2}
    sizes = {**heads, **options, **({"head_size": 16} if "head_size" in options else {})}
    x = drawn(3, 20 * T, 64, dtype=torch.float32).detach().cuda().requires_grad_()
    for causal in (False, True):
        block = blocks.get(name)(64, causal=causal, **sizes)
        block.reset_parameters(std=0.1)
        block = block.cuda()
        leaves = [x, *block.parameters()]
        for layout in layouts("cuda", 20).values():
            monkeypatch.delenv("ULTRA_DISABLE_FLA", raising=False)

            def half(block=block, layout=layout):
                with torch.autocast("cuda", dtype):
                    return block(x, layout)

            found, ours = both_ways(half, leaves, monkeypatch)
            exact = with_gradients(lambda block=block, layout=layout: block(x, layout), *leaves)
            for a, b, c in zip(found, ours, exact, strict=True):
                assert (a - c).norm() <= 2 * (b - c).norm() + 2e-2 * c.norm() + 1e-5
