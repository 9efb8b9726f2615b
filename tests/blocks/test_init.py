from torch import nn

from ultra_blocks.init import initialise


def test_each_module_gets_what_it_names():
    seen = []

    class Both(nn.Module):
        def reset_parameters(self, *, std=0.0, residual_scale=0.0):
            seen.append((std, residual_scale))

    class Std(nn.Module):
        def reset_parameters(self, *, std=0.0):
            seen.append(std)

    class Neither(nn.Module):
        def reset_parameters(self):
            seen.append(None)

    for module in (Both(), Std(), Neither(), nn.Identity(), None):
        initialise(module, std=0.1, residual_scale=0.2)
    assert seen == [(0.1, 0.2), 0.1, None]
