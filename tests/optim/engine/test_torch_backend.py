"""Updates by ``torch.compile``, as on accelerators: what they compute, and that they are compiled once."""

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.engine import c_backend, sizes, torch_backend
from ultra_optim.testing.updates import UPDATES, arguments, columns_of

compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def both(
    update: Callable[..., Any], rows: Sequence[Sequence[Tensor]], numbers: Sequence[Mapping[str, Any]]
) -> tuple[list[Any], list[Any]]:
    """Return what the operations and the compiled ones make of rows, and their results."""
    expected, found = copy.deepcopy(rows), copy.deepcopy(rows)
    with torch.no_grad():
        results = torch_backend.call_all([update] * len(rows), found, numbers)
        sums = []
        for (p, g, *state), own in zip(expected, numbers, strict=True):
            wide = p.to(torch.promote_types(p.dtype, torch.float32))
            sums += update([wide], [g.to(wide.dtype)], *([s] for s in state), **own) or [None]
            p.copy_(wide)
    return [*expected, sums], [*found, results]


@compiles
@pytest.mark.parametrize("update", UPDATES, ids=lambda update: update.__name__)
def test_updates_are_one_graph_of_numbers_that_change(
    update: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, but left to torch to run instead of generating code."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: compile_(f, backend="eager", **options))
    torch._dynamo.reset()
    torch_backend._compiled.cache_clear()
    torch._dynamo.utils.counters.clear()
    names, numbers = arguments(update)
    graphs = []
    for repeat in range(2):
        rows = [columns_of(names, size, torch.float64, size) for size in (129, 200, 4099, 129, 200, 7)]
        rows[1][2:] = [t if t.ndim else rows[0][i] for i, t in enumerate(rows[1][2:], 2)]  # shared by slices
        changing = [
            {n: v * (1 + i + repeat) if isinstance(v, float) else v for n, v in numbers.items()}
            for i in range(6)
        ]
        expected, found = both(update, rows, changing)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs == [1, 1]
    torch_backend._compiled.cache_clear()


@pytest.mark.skipif(not shutil.which("g++"), reason="torch needs a C++ compiler")
@compiles
def test_generated_code() -> None:
    """Of an update that adds up, in two precisions."""
    (update,) = (u for u in UPDATES if u.__name__ == "stable_moments")
    torch._dynamo.reset()
    torch_backend._compiled.cache_clear()
    names, numbers = arguments(update)
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        rows = [columns_of(names, size, torch.float32, size) for size in (500, 301)]
        rows = [[row[0].to(dtype), row[1].to(dtype), *row[2:]] for row in rows]
        expected, found = both(update, rows, [numbers, numbers])
        torch.testing.assert_close(found, expected, rtol=bound, atol=bound)
    torch_backend._compiled.cache_clear()


def test_rows_that_are_alike_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[torch.dtype, list[int], list[float]]] = []

    def compiled(signature: Any) -> Any:
        def call(values: Tensor, *tensors: Tensor) -> list[None]:
            calls.append((tensors[0].dtype, [t.numel() for t in tensors[::2]], values[:, 0].tolist()))
            return [None] * torch_backend.ROWS_PER_CALL

        return call

    monkeypatch.setattr(torch_backend, "_compiled", compiled)
    rows = [[torch.zeros(10 * n), torch.zeros(10 * n)] for n in range(2, 8)]
    rows.insert(1, [torch.zeros(50, dtype=torch.bfloat16), torch.zeros(50)])
    results = torch_backend.call_all([UPDATES[0]] * 7, rows, [{"lr": float(n)} for n in range(7)])
    assert results == [None] * 7
    assert calls == [
        (torch.float32, [20, 30, 40, 50], [0, 2, 3, 4]),
        (torch.float32, [60, 70, 128, 128], [5, 6, 6, 6]),
        (torch.bfloat16, [50, 128, 128, 128], [1, 1, 1, 1]),
    ]


@pytest.mark.parametrize(("wanted", "expected"), [(True, [200, 300]), (None, []), (False, [])])
def test_long_tensors_of_accelerators_are_compiled_if_wanted(
    wanted: bool | None, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device without memory stands for an accelerator."""
    seen: list[int] = []

    def call_all(updates: Any, rows: Sequence[Sequence[Tensor]], numbers: Any) -> list[None]:
        seen.extend(row[0].numel() for row in rows)
        assert all(t.device.type == "meta" and t.ndim == 1 for row in rows for t in row)
        return [None] * len(rows)

    monkeypatch.setattr(torch_backend, "call_all", call_all)
    monkeypatch.setattr(c_backend, "loop_for", None)
    monkeypatch.setattr(sizes, "TORCH_SLICE", 256)
    with torch.device("meta"):
        model = nn.ParameterList([torch.empty(20, 10), torch.empty(30, 10).half(), torch.empty(10, 20).t()])
        model.append(torch.empty(4, 4))
        optimizer = build("lion", model, compile=wanted)
        for p in model:
            p.grad = torch.empty_like(p)
    optimizer.step()
    assert seen == expected
