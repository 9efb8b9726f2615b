"""One row per registered norm: the formula in plain tensor arithmetic."""

import pytest
import torch


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, 16, generator=generator, dtype=torch.float64) * 3 + 1


@pytest.fixture
def randomise():
    """Move every parameter of a module away from where it starts."""

    def apply(module):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(noise.to(parameter.dtype) * 0.3)
        return module

    return apply
