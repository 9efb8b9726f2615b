"""Inputs of a wrong width, shape or dtype are answered by every module, with its name and both sizes."""

import pytest
import torch

import ultra_blocks
from ultra_blocks import Layout
from ultra_core import blocks, ffns, norms

LAYERED = [*blocks.names(), *ffns.names()]
LAYOUTS = pytest.mark.parametrize("layout", [None, Layout.full(2, 5)], ids=["none", "full"])


@pytest.mark.parametrize("name", [*LAYERED, *norms.names()])
@pytest.mark.parametrize("width", [1, 8, 24])
def test_another_width(name, width) -> None:
    """A width of 1 would be broadcast in silence by element-wise norms."""
    module = ultra_blocks.build(name, 16)
    message = rf"{type(module).__name__} was built for hidden_size 16; the input has {width} in its last"
    with pytest.raises(ValueError, match=message):
        module(torch.randn(2, 5, width))


@pytest.mark.parametrize("name", LAYERED)
@LAYOUTS
def test_another_width_with_a_layout(name, layout) -> None:
    with pytest.raises(ValueError, match="hidden_size 16; the input has 8"):
        ultra_blocks.build(name, 16)(torch.randn(2, 5, 8), layout)


@pytest.mark.parametrize("name", [*blocks.names(), "moe"])
@pytest.mark.parametrize("shape", [(5, 16), (16,), (2, 2, 5, 16), ()])
def test_another_number_of_dimensions(name, shape) -> None:
    module = ultra_blocks.build(name, 16)
    with pytest.raises(ValueError, match=r"takes tokens \(batch, length, hidden_size\); the input is"):
        module(torch.randn(shape))
    if shape == (5, 16):
        with pytest.raises(ValueError, match=r"one row of tokens give x\[None\]"):
            module(torch.randn(shape))


@pytest.mark.parametrize("name", [*LAYERED, *norms.names()])
@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.complex64])
def test_a_dtype_that_is_not_floating(name, dtype) -> None:
    module = ultra_blocks.build(name, 16)
    with pytest.raises(ValueError, match=f"{type(module).__name__} takes activations.*{dtype}"):
        module(torch.ones(2, 5, 16, dtype=dtype))


@pytest.mark.parametrize("name", [*norms.names(), "mlp", "glu"])
def test_what_acts_on_single_tokens_takes_any_number_of_dimensions(name) -> None:
    module = ultra_blocks.build(name, 16)
    for shape in [(16,), (3, 16), (2, 3, 4, 16), (0, 16)]:
        assert module(torch.randn(shape)).shape == shape
    with pytest.raises(ValueError, match="is a single number"):
        module(torch.tensor(1.0))


@pytest.mark.parametrize("name", ["standard_attn", "mlp", "dynamic_tanh"])
def test_checks_do_not_break_a_graph(name) -> None:
    module = ultra_blocks.build(name, 16)
    compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=True)
    for length in (5, 7):
        x = torch.randn(2, length, 16)
        torch.testing.assert_close(compiled(x), module(x))
