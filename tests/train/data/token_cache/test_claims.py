import os
import time

import pytest

from ultra_train.data.token_cache.claims import STALE_AFTER, Claims


@pytest.mark.parametrize(("age", "taken"), [(0, True), (STALE_AFTER + 9, False), (-STALE_AFTER - 9, False)])
def test_claims_of_another_machine_are_void_when_their_time_is_far_from_now(tmp_path, age, taken):
    path = tmp_path / "work.claim"
    path.write_text("elsewhere 7")
    os.utime(path, (time.time() - age,) * 2)
    with Claims(tmp_path) as claims:
        assert claims.is_taken("work") is taken
        assert claims.take("work") is not taken
    assert path.exists() is taken
