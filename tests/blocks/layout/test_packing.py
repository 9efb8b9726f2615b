from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultra_blocks.layout import Layout, pack_documents


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.booleans())
def test_every_token_has_one_place_beside_those_of_its_document(lengths, left):
    columns = torch.arange(10)
    mask = (9 - columns if left else columns) < torch.tensor(lengths)[:, None]
    layout = Layout.from_mask(mask)
    rows = pack_documents(layout)
    if rows is None:
        assert not any(lengths)
        return
    longest = max(lengths)
    assert rows.layout.mask.shape[1] == longest
    assert rows.layout.mask.shape[0] <= len(lengths)
    full = [length for length in lengths if 2 * length > longest]
    assert rows.layout.mask.shape[0] <= len(full) + 1 + sum(lengths) * 2 // longest
    x = torch.arange(mask.numel()).view_as(mask) + 1
    packed = rows.pack(x)
    assert torch.equal(rows.unpack(packed), x * mask)
    assert torch.equal(packed > 0, rows.layout.mask)
    for tokens, documents, positions in zip(
        packed, rows.layout.documents, rows.layout.positions, strict=True
    ):
        for document in range(int(documents.max()) + 1):
            own = tokens[documents == document]
            assert own.diff().eq(1).all(), "the order of the tokens"
            assert len(own.sub(1).div(10, rounding_mode="floor").unique()) == 1
            assert torch.equal(positions[documents == document], torch.arange(len(own)))


def test_packing_that_saves_too_little():
    layout = Layout.from_mask(torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]))
    assert pack_documents(layout, at_most=0.8) is None
    assert pack_documents(layout).layout.mask.shape == (2, 4)
    short = Layout.from_mask(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]))
    assert pack_documents(short, at_most=0.8).layout.mask.shape == (2, 4)
