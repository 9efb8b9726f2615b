import pytest

from ultra_core.contracts import KINDS, SEED_ROLES, ParamInfo


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


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind):
    assert ParamInfo(kind=kind, role="of_a_plugin").kind == kind


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="kind"):
        ParamInfo(kind="tensor")


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        ParamInfo().role = "norms"
