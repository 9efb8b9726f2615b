import pytest

from ultra_core.contracts import PARAMETER_KINDS, SEED_ROLES, LogitRows, ParamInfo, RecordsLogits


def test_what_nobody_describes_is_another_decayed_matrix():
    info = ParamInfo()
    assert (info.role, info.kind, info.decay, info.row_blocks, info.expert_dim) == (
        "other",
        "matrix",
        True,
        (),
        None,
    )
    assert info.role in SEED_ROLES


@pytest.mark.parametrize("kind", PARAMETER_KINDS)
def test_every_kind(kind):
    assert ParamInfo(kind=kind, role="of_a_plugin").kind == kind


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="kind"):
        ParamInfo(kind="tensor")


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        ParamInfo().role = "norms"


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
