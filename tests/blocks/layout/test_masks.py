import torch
from hypothesis import given
from hypothesis import strategies as st

from ultra_blocks.layout import Layout
from ultra_blocks.layout.masks import key_mask, pair_mask, visible_keys


def test_key_mask_hides_padding_and_leaves_no_row_empty() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    assert key_mask(mask).flatten(1).tolist() == [[True, False], [True, True]]


def test_pair_mask_lets_padding_see_itself_alone() -> None:
    mask = torch.tensor([[True, False, True]])
    documents = torch.tensor([[0, -1, 0]])
    positions = torch.tensor([[0, 0, 1]])
    seen = pair_mask(mask, documents, positions)[0, 0].int().tolist()
    assert seen == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    causal = pair_mask(mask, documents, positions, causal=True)[0, 0].int().tolist()
    assert causal == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_window_counts_positions_not_columns() -> None:
    mask = torch.tensor([[True, False, True, True]])
    documents = torch.where(mask, 0, -1)
    positions = torch.tensor([[0, 0, 1, 2]])
    near = pair_mask(mask, documents, positions, window=2)[0, 0].int()
    assert near[0].tolist() == [1, 0, 1, 0]
    back = pair_mask(mask, documents, positions, causal=True, window=1)[0, 0].int()
    assert back[3].tolist() == [0, 0, 1, 1]


@given(st.integers(1, 12), st.booleans(), st.sampled_from([None, 1, 4]), st.integers(0, 99))
def test_visible_keys_are_the_rows_of_the_pair_mask(
    length: int, causal: bool, window: int | None, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, length, generator=g) < 0.7
    layout = Layout.from_mask(mask, (torch.rand(2, length, generator=g) < 0.3).cumsum(1))
    parts = (layout.mask, layout.documents, layout.positions)
    seen = visible_keys(*parts, causal=causal, window=window)
    wanted = pair_mask(*parts, causal=causal, window=window)[:, 0].sum(-1)
    assert torch.equal(seen[mask], wanted[mask])
    assert (seen > 0).all()
