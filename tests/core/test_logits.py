"""What a block says of its logits."""

import pytest

from ultra_core.contracts import LogitRows, RecordsLogits


def test_rows_end_after_the_last_head() -> None:
    assert LogitRows(parameter="w", part="key", heads=3, width=4, start=5).stop == 17


@pytest.mark.parametrize("field", [{"part": "value"}, {"heads": 0}, {"width": 0}, {"start": -1}])
def test_rows_are_checked(field) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        LogitRows(**({"parameter": "w", "part": "query", "heads": 1, "width": 1} | field))


class Block:
    def record_logits(self, enabled): ...
    def take_max_logits(self): ...


class Recording(Block):
    def logit_rows(self): ...


def test_a_block_is_known_by_its_methods() -> None:
    assert isinstance(Recording(), RecordsLogits)
    assert not isinstance(Block(), RecordsLogits)
