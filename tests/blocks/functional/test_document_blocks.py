import torch
from hypothesis import given
from hypothesis import strategies as st

from ultra_blocks.functional.document_blocks import document_blocks, take_rows
from ultra_blocks.layout import Layout
from ultra_blocks.testing.draws import Batch, batches

DRAWN = batches(rows=(1, 3), documents=(0, 4), paddings=("none", "left", "right", "inside"), longest=9)


@given(DRAWN, st.sampled_from([1, 2, 4, 16]))
def test_documents_begin_at_multiples_and_come_back_whole(batch: Batch, align: int) -> None:
    layout = batch.layout()
    blocks = document_blocks(layout, align)
    x = layout.zero_padding(torch.randn(*layout.mask.shape, 3))
    packed = blocks.pack(x)
    assert torch.equal(layout.zero_padding(blocks.unpack(packed)), x)
    assert blocks.places % align == 0
    inner = blocks.layout
    assert inner.mask.shape == blocks.rank.shape == packed.shape[:2]
    for b, row in enumerate(batch.rows):
        assert blocks.lengths[b, : len(row)].tolist() == list(row)
        assert not blocks.lengths[b, len(row) :].any()
        tokens = iter(x[b, layout.mask[b]])
        used = torch.zeros_like(inner.mask[b])
        for number, (start, length) in enumerate(zip(blocks.starts[b].tolist(), row, strict=False)):
            here = slice(start, start + length)
            used[here] = True
            assert start % align == 0
            assert torch.equal(packed[b, here], torch.stack([next(tokens) for _ in range(length)]))
            assert blocks.rank[b, here].tolist() == inner.positions[b, here].tolist() == list(range(length))
            assert (inner.documents[b, here] == number).all()
        assert torch.equal(used, inner.mask[b])
        assert not packed[b, ~used].any()
        assert (inner.documents[b, ~used] == -1).all()


def test_rows_that_are_blocks_already_are_not_moved() -> None:
    for layout in (Layout.full(2, 8), Layout.from_mask(torch.arange(8) < torch.tensor([[8], [3]]))):
        blocks = document_blocks(layout, 4)
        x = torch.randn(2, 8, 3)
        assert blocks.source is None
        assert blocks.pack(x) is x


def test_positions_given_from_outside_are_kept_and_not_counted() -> None:
    mask = torch.tensor([[False, True, True, True]])
    layout = Layout.from_mask(mask, positions=torch.tensor([[0, 7, 3, 20]]))
    blocks = document_blocks(layout, 2)
    assert blocks.layout.positions.tolist() == [[7, 3, 20, 0]]
    assert blocks.rank[0, :3].tolist() == [0, 1, 2]
    alone = blocks.at(torch.tensor([[2, 0]]))
    assert alone.positions.tolist() == [[20, 7]]


def test_is_made_once_a_forward() -> None:
    layout = Layout.full(1, 5)
    assert document_blocks(layout, 4) is document_blocks(layout, 4)
    assert document_blocks(layout, 4) is not document_blocks(layout, 2)


def test_take_rows_is_a_gather() -> None:
    x, index = torch.randn(3, 7, 2), torch.randint(7, (3, 5))
    assert torch.equal(take_rows(x, index), x.gather(1, index[..., None].expand(-1, -1, 2)))
