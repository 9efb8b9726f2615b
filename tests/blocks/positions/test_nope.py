from ultra_blocks.positions.nope import NoPE


def test_has_no_kind_no_parameters_and_no_state() -> None:
    code = NoPE()
    assert code.kind == "none"
    assert code.relative
    assert code.symmetric
    assert not code.state_dict()
