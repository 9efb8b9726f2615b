import pytest
import torch

from ultra_blocks.layout import Layout
from ultra_blocks.positions.learned import Learned


def test_looks_up_positions_within_documents() -> None:
    code = Learned(4, max_positions=3)
    mask = torch.tensor([[False, True, True, True, True]])
    layout = Layout.from_mask(mask, torch.tensor([[0, 0, 0, 1, 1]]))
    got = code.embed(layout)
    table = code.table.weight
    assert torch.equal(got[0, 1:], table[[0, 1, 0, 1]])


def test_an_offset_leaves_the_first_rows_to_others() -> None:
    code = Learned(4, max_positions=3, offset=2)
    mask = torch.tensor([[False, True, True, True, True]])
    got = code.embed(Layout.from_mask(mask, torch.tensor([[0, 0, 0, 1, 1]])))
    assert torch.equal(got[0, 1:], code.table.weight[[2, 3, 2, 3]])
    with pytest.raises(ValueError, match="4 positions but the table has 3"):
        code.embed(Layout.full(1, 4))


def test_a_document_beyond_the_table_is_an_error_and_a_long_row_of_short_ones_is_not() -> None:
    code = Learned(4, max_positions=3)
    mask = torch.ones(1, 6, dtype=torch.bool)
    assert code.embed(Layout.from_mask(mask, torch.tensor([[0, 0, 0, 1, 1, 1]]))).shape == (1, 6, 4)
    with pytest.raises(ValueError, match="6 positions but the table has 3"):
        code.embed(Layout.from_mask(mask))
    with pytest.raises(ValueError, match="8 positions"):
        code.embed(Layout.from_mask(mask[:, :1], positions=torch.tensor([[7]])))
    right = torch.tensor([[True, True, True, False, False]])
    assert code.embed(Layout.from_mask(right)).shape == (1, 5, 4)


def test_is_an_embedding_to_the_optimizer() -> None:
    code = Learned(4)
    (info,) = code.parameter_info().values()
    assert (info.role, info.kind) == ("embeddings", "embedding")
    assert not code.relative
    assert code.table.weight.shape == (512, 4)


def test_gradients_reach_only_the_used_rows() -> None:
    code = Learned(2, max_positions=4)
    code.embed(Layout.full(2, 3)).sum().backward()
    assert code.table.weight.grad is not None
    assert code.table.weight.grad[:, 0].tolist() == [2, 2, 2, 0]


def test_refuses_an_empty_table() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Learned(4, max_positions=0)
    with pytest.raises(ValueError, match="offset must be 0 or more; given -1"):
        Learned(4, offset=-1)
