from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionCode


class Block(Mixer):
    role: ClassVar[str] = "attention"
    traits: ClassVar[Traits] = Traits(causal=False, positions=frozenset({"rotate"}))

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.in_proj = nn.Linear(hidden_size, 2 * hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.own_norm = RMSNorm(hidden_size)
        self.gate = nn.Parameter(torch.ones(hidden_size))
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"in_proj.weight": (self.hidden_size, self.hidden_size)}


def test_refuses_what_the_traits_do_not_declare() -> None:
    with pytest.raises(ValueError, match="Block: causal=True was asked for"):
        Block(4, causal=True)
    block = Block(4)
    with pytest.raises(ValueError, match="does not declare recurrent_step"):
        block.init_state(1)
    with pytest.raises(ValueError, match="does not declare recurrent_step"):
        block.step(torch.zeros(1, 4), None)
    with pytest.raises(ValueError, match="needs causal=True"):
        block.require_causal()
    with pytest.raises(TypeError, match="must define it"):
        block(torch.zeros(1, 1, 4))


def test_builds_the_position_codes_that_it_declares() -> None:
    block = Block(4)
    assert block.build_positions("rope", head_dim=2, num_heads=2).kind == "rotate"
    assert block.build_positions("nope", head_dim=2, num_heads=2).kind == "none"
    assert block.build_positions({"learned": {"max_positions": 3}}, head_dim=2, num_heads=2).kind == "embed"
    with pytest.raises(ValueError, match="Block cannot apply the position code ALiBi of kind 'bias'"):
        block.build_positions("alibi", head_dim=2, num_heads=2)


def test_describes_what_nobody_inside_describes() -> None:
    info = Block(4).parameter_info()
    assert set(info) == {"in_proj.weight", "in_proj.bias", "out_proj.weight", "out_proj.bias", "gate"}
    assert {said.role for said in info.values()} == {"attention"}
    assert info["in_proj.weight"].row_blocks == (4, 4)
    assert [said.decay for said in (info["out_proj.weight"], info["out_proj.bias"], info["gate"])] == [
        True,
        False,
        False,
    ]
    assert info["gate"].kind == "vector"


def test_draws_weights_as_asked() -> None:
    torch.manual_seed(0)
    block = Block(64)
    with torch.no_grad():
        block.norm.weight.fill_(3.0)
        block.own_norm.weight.fill_(3.0)
        block.in_proj.bias.fill_(3.0)
    block.reset_parameters(std=0.1, residual_scale=0.5)
    assert abs(block.in_proj.weight.std() - 0.1) < 0.005
    assert abs(block.out_proj.weight.std() - 0.05) < 0.005
    assert not block.in_proj.bias.any()
    assert (block.norm.weight == 1).all()
    assert (block.own_norm.weight == 1).all()


def test_enters_and_leaves_padding_as_zeros() -> None:
    layout = Layout.from_mask(torch.tensor([[True, False]]))
    x = torch.tensor([[[1.0], [float("nan")]]])
    block = Mixer(1)
    assert block.enter(x, layout).tolist() == [[[1.0], [0.0]]]
    assert block.leave(x, layout).tolist() == [[[1.0], [0.0]]]
    assert block.enter(x, None) is x
    assert block.leave(x, None) is x


def test_a_code_of_a_kind_that_nobody_knows_is_refused() -> None:
    class Unknown(PositionCode):
        kind = "unknown"  # type: ignore[assignment]

        def embed(self, layout: Layout) -> Tensor:
            raise AssertionError

    with pytest.raises(ValueError, match="of kind 'unknown'"):
        Block(4).build_positions(Unknown, head_dim=2, num_heads=2)
