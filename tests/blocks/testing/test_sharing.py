from blocks.testing.sound import Sound

from ultra_blocks.testing import block_cases
from ultra_blocks.testing.sharing import once_a_case


def test_work_is_done_once_for_each_case_in_a_row():
    seen = []
    compute = once_a_case(lambda case: seen.append(str(case)) or len(seen))
    first, second = block_cases([Sound])
    assert [compute(case) for case in (first, first, second, second, first)] == [1, 1, 2, 2, 3]
    wider = next(iter(block_cases([Sound], options={"window": 3})))
    assert compute(wider) == 4
