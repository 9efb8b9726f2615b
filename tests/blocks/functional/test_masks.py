import torch

from ultra_blocks.functional.masks import key_mask, pair_mask


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
