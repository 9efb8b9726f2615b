import pytest
import torch

from ultra_blocks.layout import Layout
from ultra_blocks.positions import PositionCode, build
from ultra_blocks.positions.alibi import ALiBi
from ultra_blocks.positions.learned import Learned
from ultra_blocks.positions.nope import NoPE
from ultra_blocks.positions.rope import RoPE
from ultra_core.errors import PluginError, UnknownNameError

SIZES = {"head_dim": 8, "num_heads": 4, "hidden_size": 32}


def test_builds_by_name_by_name_with_options_and_by_factory() -> None:
    assert isinstance(build("nope", **SIZES), NoPE)
    rope = build({"rope": {"base": 5.0, "interleaved": True}}, **SIZES)
    assert isinstance(rope, RoPE)
    assert (rope.head_dim, rope.base, rope.interleaved) == (8, 5.0, True)
    assert isinstance(build({"alibi": {}}, **SIZES), ALiBi)
    assert isinstance(build(RoPE, **SIZES), RoPE)

    def factory(head_dim: int) -> PositionCode:
        return RoPE(head_dim, base=7.0)

    assert build(factory, **SIZES).base == 7.0


def test_passes_fields_of_the_model_and_lets_options_win() -> None:
    model = {"max_positions": 9}
    learned = build("learned", **SIZES, model=model)
    assert isinstance(learned, Learned)
    assert learned.max_positions == 9
    learned = build({"learned": {"max_positions": 5}}, **SIZES, model=model)
    assert isinstance(learned, Learned)
    assert learned.max_positions == 5


def test_faults() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'rope'"):
        build("ropee", **SIZES)
    with pytest.raises(PluginError, match="no option 'bas'"):
        build({"rope": {"bas": 1.0}}, **SIZES)
    with pytest.raises(ValueError, match="one name with its options"):
        build({"rope": {}, "alibi": {}}, **SIZES)
    with pytest.raises(ValueError, match="a name"):
        build(3, **SIZES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"num_heads .* is given by the model"):
        build({"alibi": {"num_heads": 3}}, **SIZES)


def test_a_code_asked_for_what_it_is_not_says_so() -> None:
    code, layout, x = NoPE(), Layout.full(1, 2), torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="no rotate"):
        code.rotate(x, x, layout)
    with pytest.raises(ValueError, match="no bias"):
        code.bias(layout, torch.float32)
    with pytest.raises(ValueError, match="no scores"):
        code.scores(x, x, layout)
    with pytest.raises(ValueError, match="no embed"):
        code.embed(layout)
