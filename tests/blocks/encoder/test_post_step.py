from torch import nn

from ultra_blocks.encoder.post_step import after_step


class Noting(nn.Module):
    def __init__(self, child=None):
        super().__init__()
        self.child, self.told = child, []

    def after_step(self, taken):
        self.told.append(taken)


def test_every_module_that_has_it_is_told_once():
    inner = Noting()
    outer = Noting(nn.Sequential(nn.Linear(2, 2), inner, inner))
    after_step(outer)
    after_step(outer, taken=False)
    assert outer.told == inner.told == [True, False]


def test_a_value_of_that_name_is_left_alone():
    model = nn.Linear(2, 2)
    model.after_step = 3
    after_step(model)
