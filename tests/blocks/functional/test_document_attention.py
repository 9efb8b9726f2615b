import torch
from hypothesis import given
from hypothesis import strategies as st

from ultra_blocks.functional.document_attention import document_attention
from ultra_blocks.functional.document_blocks import document_blocks
from ultra_blocks.testing.draws import Batch, batches

DRAWN = batches(rows=(1, 3), documents=(1, 4), paddings=("none", "left", "right", "inside"), longest=9)


@given(DRAWN, st.sampled_from([1, 2, 4]))
def test_each_query_reads_its_document(batch: Batch, size: int) -> None:
    blocks = document_blocks(batch.layout(), size)
    g = batch.generator()
    k, v = torch.randn(2, len(batch.rows), 2, blocks.places, 3, generator=g, dtype=torch.float64)
    q = torch.randn(len(batch.rows), 2, blocks.documents, 3, 3, generator=g, dtype=torch.float64)
    y = document_attention(q, k, v, blocks, size)
    for b, row in enumerate(batch.rows):
        for s, (start, length) in enumerate(zip(blocks.starts[b].tolist(), row, strict=False)):
            mine = slice(start, start + length)
            weights = (q[b, :, s] @ k[b, :, mine].transpose(-1, -2) * 3**-0.5).softmax(-1)
            torch.testing.assert_close(y[b, :, s], weights @ v[b, :, mine], rtol=0, atol=1e-13)
