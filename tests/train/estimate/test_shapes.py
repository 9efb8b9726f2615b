"""Steps on tensors without memory."""

import torch
from torch import nn

from ultra_train.estimate.meter import Meter
from ultra_train.estimate.shapes import ShapeMode


def test_numbers_are_drawn_once_and_are_finite():
    """Initialisations draw again while any number is out of bounds."""
    with ShapeMode(Meter()):
        weight = nn.init.trunc_normal_(torch.empty(300, 300), std=0.02, a=-0.04, b=0.04)
        assert bool(torch.isfinite(weight).all())
        assert not bool(torch.isnan(weight).any())
