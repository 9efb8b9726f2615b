"""When kernels of flash-linear-attention are taken, and what happens where the package is broken."""

import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from ultra_blocks.functional import fla_kernels
from ultra_blocks.functional.dispatch import gated_linear


def scan(dtype=torch.bfloat16, d_k=16, d_v=16, length=5):
    q, v = torch.ones(1, length, 2, d_k, dtype=dtype), torch.ones(1, length, 2, d_v, dtype=dtype)
    log = torch.zeros(1, length, 2, d_k, dtype=torch.promote_types(dtype, torch.float32))
    return gated_linear(q, [q], v, [log])


@pytest.fixture
def limits(stand_in, monkeypatch):
    """The stand-in with the limits of the real kernels."""
    monkeypatch.setattr(fla_kernels, "DTYPES", (torch.bfloat16, torch.float16))
    monkeypatch.setattr(fla_kernels, "NARROWEST", 16)
    return stand_in


@pytest.mark.parametrize("given", [{}, {"dtype": torch.float16}, {"d_k": 256}, {"d_v": 300}], ids=str)
def test_taken(limits, given):
    scan(**given)
    assert len(limits) == 1


@pytest.mark.parametrize(
    "given",
    [{"dtype": torch.float32}, {"dtype": torch.float64}, {"d_k": 8}, {"d_v": 8}, {"d_k": 257}],
    ids=str,
)
def test_precise_narrow_and_wide_values_stay_ours(limits, given):
    scan(**given)
    assert not limits


def test_switched_off(limits, monkeypatch):
    monkeypatch.setenv("ULTRA_DISABLE_FLA", "1")
    scan()
    assert not limits
    monkeypatch.setenv("ULTRA_DISABLE_FLA", "0")
    scan()
    assert len(limits) == 1


def test_deterministic_algorithms_are_ours(limits):
    torch.use_deterministic_algorithms(True)
    try:
        scan()
    finally:
        torch.use_deterministic_algorithms(False)
    assert not limits


def test_a_compiled_graph_has_no_breaks(limits):
    q = torch.ones(1, 5, 2, 16, dtype=torch.bfloat16, requires_grad=True)
    compiled = torch.compile(gated_linear, fullgraph=True, backend="eager")
    compiled(q, [q.detach()], q.detach(), [torch.zeros(1, 5, 2, 16)])
    assert not limits


def test_not_without_a_gpu(limits, monkeypatch):
    monkeypatch.undo()
    scan()
    assert not limits


@pytest.mark.parametrize(
    ("capability", "taken"), [((6, 1), False), ((7, 5), False), ((8, 6), True), ((9, 0), True)]
)
def test_gpus_before_ampere_stay_ours(capability, taken, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    fla_kernels._recent.cache_clear()
    assert fla_kernels._on_gpu(SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0))) is taken
    fla_kernels._recent.cache_clear()


@pytest.fixture
def importing(monkeypatch):
    """On a GPU, with a package whose import fails as told, if at all there."""
    monkeypatch.setattr(fla_kernels, "_on_gpu", lambda x: True)
    for name in [name for name in sys.modules if name.split(".")[0] == "fla"]:
        monkeypatch.delitem(sys.modules, name)
    fla_kernels._ops.cache_clear()

    def failing(error):
        def find_module(name, *rest):
            if name.split(".")[0] == "fla":
                raise error
            return real(name, *rest)

        real = fla_kernels.importlib.import_module
        monkeypatch.setattr(fla_kernels.importlib, "import_module", find_module)

    yield failing
    fla_kernels._ops.cache_clear()


def test_a_missing_package_is_silent(importing):
    importing(ModuleNotFoundError("No module named 'fla'", name="fla"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan().shape == (1, 5, 2, 16)


def test_a_broken_package_says_so_once(importing):
    importing(RuntimeError("0 active drivers"))
    with pytest.warns(RuntimeWarning, match=r"cannot be imported .*0 active drivers.*ULTRA_DISABLE_FLA=1"):
        scan()
    scan()


def test_nothing_is_imported_before_it_is_needed(importing, monkeypatch):
    importing(AssertionError("imported"))
    monkeypatch.setattr(fla_kernels, "_on_gpu", lambda x: False)
    scan()
    monkeypatch.setattr(fla_kernels, "_on_gpu", lambda x: True)
    scan(dtype=torch.float32)


def test_borders_of_both_directions():
    documents = torch.tensor([[0, 0, 0, 1], [-1, -1, -1, -1], [0, -1, 0, 1]])
    place, borders = fla_kernels._places(documents, (False, True))
    assert place.tolist() == [0, 1, 2, 3, 8, 10, 11]
    assert borders.tolist() == [0, 3, 4, 6, 7, 8, 10, 11, 14]
    assert fla_kernels._places(documents, (True,))[1].tolist() == [0, 1, 3, 4, 7]
