import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ultra_train.data.batches.batch_layout import by_length, packed

lengths_of = st.lists(st.integers(2, 40), min_size=1, max_size=200).map(lambda x: np.array(x, dtype=np.int32))


@given(lengths_of, st.integers(1, 300))
def test_by_length_keeps_every_document_once_and_the_budget(lengths, budget):
    draws = np.random.default_rng(0).permutation(len(lengths))
    layout = by_length(draws, lengths[draws], tokens_per_batch=budget)
    assert sorted(layout.draws.tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(layout.starts) > 0)
    assert layout.starts[-1] == len(lengths)
    positions = 0
    totals = []
    for begin, end in zip(layout.starts, layout.starts[1:], strict=False):
        inside = lengths[layout.draws[begin:end]]
        totals.append(inside.sum())
        positions += len(inside) * inside.max()
        assert inside.sum() <= 1.5 * budget + 2 * lengths.max()
    assert layout.padding == 1 - lengths.sum() / positions


def test_batches_of_one_length_have_no_padding():
    lengths = np.repeat(np.array([5, 10, 20], dtype=np.int32), [400, 200, 100])
    layout = by_length(np.arange(700), lengths, tokens_per_batch=200)
    assert layout.padding == 0
    assert layout.num_batches == 30


def test_real_lengths_waste_almost_nothing():
    lengths = np.clip(np.random.default_rng(0).lognormal(3.5, 0.8, 20_000), 3, 512).astype(np.int32)
    layout = by_length(np.arange(20_000), lengths, tokens_per_batch=4096)
    assert layout.padding < 0.02
    tokens = np.add.reduceat(lengths[layout.draws], layout.starts[:-1])
    assert abs(tokens.mean() - 4096) < 60


@given(lengths_of, st.integers(1, 5))
def test_packed_keeps_every_document_once_and_fits_rows(lengths, rows_per_batch):
    draws = np.random.default_rng(1).permutation(len(lengths))
    layout = packed(draws, lengths[draws], max_length=40, rows_per_batch=rows_per_batch)
    assert sorted(layout.draws.tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(layout.rows) >= 0)
    row_tokens = np.bincount(layout.rows, weights=lengths[layout.draws])
    assert row_tokens.min() > 0
    assert row_tokens.max() <= 40
    assert layout.padding == 1 - lengths.sum() / (40 * len(row_tokens))
    rows = [len(set(layout.rows[a:b])) for a, b in zip(layout.starts, layout.starts[1:], strict=False)]
    assert all(count == rows_per_batch for count in rows[:-1])
    assert 1 <= rows[-1] <= rows_per_batch


def test_packing_fills_the_rows():
    lengths = np.clip(np.random.default_rng(0).lognormal(3.5, 0.8, 20_000), 3, 512).astype(np.int32)
    assert packed(np.arange(20_000), lengths, max_length=512, rows_per_batch=8).padding < 0.02


def test_like_lengths_give_like_layouts_so_that_epochs_have_the_same_number_of_batches():
    lengths = np.random.default_rng(0).integers(3, 60, 3000).astype(np.int32)
    for lay in (
        lambda d: by_length(d, lengths[d], tokens_per_batch=500),
        lambda d: packed(d, lengths[d], max_length=64, rows_per_batch=4),
    ):
        first = lay(np.arange(3000))
        second = lay(np.random.default_rng(5).permutation(3000))
        assert first.num_batches == second.num_batches
        assert first.draws.tolist() != second.draws.tolist()
