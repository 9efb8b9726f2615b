"""Rules of dropout: it acts in training, with the rate that was asked for, and not in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.testing.cases import Case, output
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.masks import Masks
from ultra_blocks.testing.seeding import seeded
from ultra_core.errors import PluginError
from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding

RATE = 0.4
"""The rate of the masks that are counted: p, 1 - p and p / 2 are well apart."""

SMALL_RATE, SCALES = 0.1, (0.925, 1.08)
"""A rate, and bounds of the mean of many draws, relative to the output in evaluation.

Without the factor 1 / (1 - p) the mean is 0.9, with its square 1.11. Functions that are not linear in the
mask, as a norm of what is left, shift the mean by less, since they do so in proportion to the variance.
"""

LEAST_GROWTH = 1.5
"""Of the variance, from a rate of 0.1 to 0.6: 13.5 if linear, 1 if the rate is ignored, 0.07 for 1 - p."""

DRAWS = 256
LENGTH = 24


def dropouts(case: Case) -> list[str]:
    """Return the options of the constructor that are rates of dropout; none if it cannot be read."""
    try:
        options = read_options(case.cls)
    except PluginError:  # rule C1 reports it
        return []
    found = {name: option.default for name, option in options.items() if "drop" in name}
    return [name for name, default in found.items() if type(default) in (int, float)]


def _takes_dropout(case: Case) -> bool:
    return bool(dropouts(case))


def without_dropout(case: Case) -> dict[str, Any]:
    """Return options of the constructor that turn all dropout off."""
    return dict.fromkeys(dropouts(case), 0.0)


def _with(case: Case, exact: nn.Module, option: str, rate: float) -> nn.Module:
    """Return a copy of ``exact`` with one rate; the others stay 0."""
    options: dict[str, Any] = {**without_dropout(case), option: rate}
    return case.copy_of(exact, **options)


def _equal_rows(case: Case, rows: int) -> Tensor:
    """Return the same tokens in every row ``(rows, T, D)``."""
    g = torch.Generator().manual_seed(21)
    x = torch.randn(1, LENGTH, case.hidden_size, generator=g, dtype=torch.float64)
    return x.repeat(rows, 1, 1)


@torch.no_grad()
def _draw(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    """Return the output in training after ``torch.manual_seed``."""
    with seeded(seed):
        return output(module.train(), x, None)


def dropout_acts(case: Case) -> None:
    """Dropout acts in training and not in evaluation, on each row of its own, and follows the global seed.

    Fix: ``F.dropout(weights, self.dropout, self.training)``; the third argument is easily forgotten. With
    torch's attention, pass ``dropout_p=self.dropout if self.training else 0.0``. A mask has the shape of the
    tensor that it multiplies, with the batch dimension.
    """
    exact, x = case.build(**without_dropout(case)), _equal_rows(case, 3)
    plain = output(exact, x, None).detach()
    for option in dropouts(case):
        rate = f"{option}=0.5"
        module = _with(case, exact, option, 0.5)
        for _ in range(2):
            check_close(
                output(module, x, None), plain, 0.0, what=f"in evaluation with {rate}, output", other="with 0"
            )
        y = _draw(module, x, 1)
        if torch.equal(y, plain):
            raise Finding(f"training with {rate} gives the output of evaluation")
        check_close(_draw(module, x, 1), y, 0.0, what="training", other="with the same torch.manual_seed")
        if torch.equal(_draw(module, x, 2), y):
            raise Finding(f"training with {rate} gives the same output after torch.manual_seed(1) and (2)")
        with torch.random.fork_rng(devices=[]):
            if torch.equal(output(module, x, None), output(module, x, None)):
                raise Finding(f"training with {rate} drops the same in two calls")
        if torch.equal(y[0], y[1]) and torch.equal(y[0], y[2]):
            raise Finding(f"in training with {rate}, three equal rows get equal outputs: they share one mask")
        after = output(module.eval(), x, None)
        check_close(after, plain, 0.0, what="evaluation", other="before training")


def dropout_rate(case: Case) -> None:
    """Dropout has the rate that was asked for, and keeps the mean: what is left is divided by 1 - p.

    The ones are counted in the masks that torch draws during a forward pass in training. With every mask
    replaced by its mean, 1 - p, the output must be that of evaluation; where masks are hidden in an operator
    or have no mean (bool), the mean of many outputs must be near it, and their variance must grow with p.

    Fix: multiply by a mask that is 1 with probability ``1 - p``, and divide by ``1 - p``; ``F.dropout`` does
    both. By hand, keep where ``torch.rand_like(x) >= p``.
    """
    exact = case.build(**without_dropout(case))
    plain = output(exact, _equal_rows(case, 1), None).detach()
    for option in dropouts(case):
        module = _with(case, exact, option, RATE)
        with Masks() as masks:
            _draw(module, _equal_rows(case, DRAWS), 5)
        _check_fractions(masks, option)
        if not _check_mean_masks(
            partial(_draw, module, _equal_rows(case, 1)), plain, option, case.allows(1e-9)
        ):
            small = _with(case, exact, option, SMALL_RATE)
            _check_mean(_draw(small, _equal_rows(case, DRAWS), 5), plain, option)
        rates = (0.1, 0.6)
        draws = [_draw(_with(case, exact, option, rate), _equal_rows(case, 64), 6) for rate in rates]
        low, high = (float(y.var(0).mean()) for y in draws)
        if not high > LEAST_GROWTH * low:
            raise Finding(
                f"the variance of the outputs is {low:.3g} with {option}=0.1 and {high:.3g} with 0.6; "
                "it should grow, as p / (1 - p) does"
            )


def _check_fractions(masks: Masks, option: str) -> None:
    for fraction, size in masks.fractions:
        spread = 6 * (RATE * (1 - RATE) / size) ** 0.5
        if size >= DRAWS and min(abs(fraction - RATE), abs(fraction - 1 + RATE)) > spread:
            raise Finding(f"with {option}={RATE}, a mask of {size} numbers has {fraction:.1%} ones")


def _check_mean_masks(draw: Callable[[int], Tensor], plain: Tensor, option: str, limit: float) -> bool:
    """Compare the output with mean masks; return False if there are none, or there is other randomness."""
    with Masks(mean=True) as masks:
        first, second = draw(1), draw(2)
    if masks.twice:
        kept = f"keeps {(1 - RATE) ** 2:.0%} of the numbers instead of {1 - RATE:.0%}"
        seen = f"dropout is applied twice to the same tensor, which with {option}={RATE} {kept}"
        raise Finding(seen, fix="leave out one of the two calls")
    if not masks.fractions or not torch.equal(first, second):
        return False
    note = f"every mask of {option}={RATE} has its mean"
    check_close(first, plain, limit, what="training", other="in evaluation", note=note)
    return True


def _check_mean(y: Tensor, plain: Tensor, option: str) -> None:
    scale = float((y.mean(0) * plain[0]).sum() / plain[0].square().sum())
    if not SCALES[0] < scale < SCALES[1]:
        draws = f"the mean of {len(y)} draws with {option}={SMALL_RATE}"
        raise Finding(f"{draws} is {scale:.3f} times the output of evaluation; it should be 1")


for rules, ids in ((BLOCK_RULES, ("B23", "B23b")), (FFN_RULES, ("F10", "F10b"))):
    rules(ids[0], when=_takes_dropout, least="quick")(dropout_acts)
    rules(ids[1], when=_takes_dropout, after=ids[:1])(dropout_rate)
