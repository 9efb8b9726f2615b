"""Batches read as sentences, and can be made such that a block accepts them."""

import torch

from ultra_blocks.testing.draws import Batch, Row
from ultra_blocks.traits import Traits

BATCH = Batch(rows=((3, 5), (), (4,)), padding="left", extra=2, seed=7, dtype=torch.float32, fill=-1e4)


def test_a_batch_is_described_by_its_rows_and_padding() -> None:
    assert str(BATCH) == (
        "rows 3+5, empty, 4; padding left (random numbers times -10000); T = 10, float32, seed 7"
    )
    assert str(Row(5, 3)) == "T = 5, seed 3"


def test_a_block_that_does_not_pack_gets_one_document_a_row() -> None:
    assert BATCH.fitted(Traits(packing=False)).rows == ((8,), (), (4,))
    assert not BATCH.fitted(Traits(packing=False)).layout().packed


def test_a_block_of_short_rows_gets_no_longer_ones() -> None:
    for longest in (1, 2, 5, 9, 10, 11):
        assert BATCH.fitted(Traits(longest=longest)).width <= longest
    assert BATCH.fitted(Traits(longest=10)) == BATCH
