import pytest
from blocks.testing.mutants.speed import LoopsBackward, ReadsTokenByToken

from ultra_blocks.testing import RULES, RuleBroken, block_cases


@pytest.mark.parametrize(
    ("cls", "place", "function"),
    [
        (ReadsTokenByToken, r"(speed|attention)\.py:\d+", "attend"),
        (LoopsBackward, r"speed\.py:\d+", "backward"),
    ],
)
def test_the_line_of_a_loop_is_named(cls, place, function):
    case = next(iter(block_cases([cls])))
    with pytest.raises(RuleBroken, match=rf"seen: {place} in (<genexpr>|<listcomp>|{function})"):
        RULES["B28"](case)
