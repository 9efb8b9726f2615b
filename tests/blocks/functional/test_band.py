import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultra_blocks.functional import band
from ultra_blocks.functional.attention import explicit_attention
from ultra_blocks.functional.band import BandChunks, band_attention
from ultra_blocks.functional.document_blocks import document_blocks
from ultra_blocks.layout import Layout
from ultra_blocks.testing.draws import Batch, batches

DRAWN = batches(rows=(1, 2), documents=(0, 4), paddings=("none", "left", "right", "inside"), longest=30)


@given(DRAWN, st.integers(0, 9), st.integers(0, 9), st.sampled_from([0, 1, 3, 12]), st.integers(1, 16))
def test_equals_a_dense_mask(batch: Batch, back: int, ahead: int, leading: int, smallest: int) -> None:
    blocks = document_blocks(batch.layout(), 2 if batch.layout().packed else 1)
    shape = (len(batch.rows), 2, blocks.places, 4)
    q, k, v = torch.randn(3, *shape, generator=batch.generator(), dtype=torch.float64)
    documents, rank = blocks.layout.documents, blocks.rank
    distance = rank[:, :, None] - rank[:, None]
    seen = (distance <= back) & (distance >= -ahead)
    seen |= (rank[:, None] < leading) & (distance >= 0)
    seen &= (documents[:, :, None] == documents[:, None]) & (documents >= 0)[:, None]
    seen |= torch.eye(blocks.places, dtype=torch.bool) & (documents < 0)[:, None]
    wanted = explicit_attention(q * 0.5 @ k.transpose(-1, -2), v, mask=seen[:, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(band, "SMALLEST_CHUNK", smallest)
        got = band_attention(q, k, v, blocks, back=back, ahead=ahead, leading=leading)
    real = blocks.layout.mask[:, None, :, None]
    torch.testing.assert_close(got.where(real, 0), wanted.where(real, 0), rtol=0, atol=1e-13)


def test_key_heads_are_shared() -> None:
    blocks = document_blocks(Layout.full(1, 40))
    q = torch.randn(1, 4, 40, 8, dtype=torch.float64)
    k, v = torch.randn(2, 1, 2, 40, 8, dtype=torch.float64)
    got = band_attention(q, k, v, blocks, back=5, ahead=5)
    whole = (x.repeat_interleave(2, 1) for x in (k, v))
    torch.testing.assert_close(got, band_attention(q, *whole, blocks, back=5, ahead=5), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("length", "back", "ahead", "wanted"),
    [
        (4096, 256, 256, (16, 256, 1, 1)),
        (4096, 512, 0, (16, 256, 2, 0)),
        (100, 256, 256, (1, 100, 0, 0)),
        (300, 256, 256, (2, 256, 1, 1)),
        (40, 0, 0, (3, 16, 0, 0)),
    ],
)
def test_chunks_are_half_the_band(
    length: int, back: int, ahead: int, wanted: tuple[int, int, int, int]
) -> None:
    assert tuple(BandChunks.of(length, back, ahead)) == wanted
