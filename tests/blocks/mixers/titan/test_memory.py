"""The memory of titan_attn: its chunks, and that its steps descend."""

import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.functional.neural_memory import MemoryGates, neural_memory
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.titan.memory import chunk_slots, pick
from ultra_blocks.mixers.titan_attn import TitanAttention


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.98, 0.9999])
def test_the_scaled_steps_do_not_overshoot(eta: float) -> None:
    """All keys equal and the step at its largest, where steps on every token's own loss explode."""
    ones = torch.ones(1, 2000, 1)
    key = F.pad(ones[..., None], (0, 3))
    size = 64

    def largest(theta: float, length: int) -> float:
        gates = MemoryGates(theta * ones, torch.log(eta * ones), 0 * ones)
        part = [x[:, :length] for x in (key, key, key)]
        return float(
            neural_memory(*part, MemoryGates(*(g[:, :length] for g in gates)), chunk_size=size).max()
        )

    assert largest((1 - eta) / size, 2000) < 2.01
    assert largest(0.05, 640) > 100


def test_a_deep_memory_settles_where_tokens_are_equal() -> None:
    """Steps as large as those of the matrix, on values of any length, swing to and fro."""
    torch.manual_seed(3)
    block = TitanAttention(32, num_heads=4, positions="rope", memory_depth=2, memory_chunk=16).double()
    with torch.no_grad():
        for p in block.parameters():
            p.add_(torch.randn_like(p) * 0.3)
        x = torch.randn(1, 1, 32, dtype=torch.float64).repeat(1, 400, 1)
        y, moved = block(x), block(x + 1e-9 * torch.randn_like(x))
    assert (moved - y).norm() < 1e-8 * y.norm()


def test_chunks_begin_with_documents() -> None:
    mask = torch.tensor([[0, 1, 1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    documents = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 2, 2, 2, 2, 2]])
    slots = chunk_slots(Layout.from_mask(mask, documents), 3)
    assert slots.slot[mask].tolist() == [0, 1, 2, 3, 6, 7, 8, 0, 1, 2, 3, 6, 7, 8, 9]
    assert slots.filled.sum(1).tolist() == mask.sum(1).tolist()
    assert slots.fresh.tolist() == [[True, False, True, False], [True, True, True, False]]
    for row in range(2):
        assert slots.token[row][slots.filled[row]].tolist() == mask[row].nonzero().flatten().tolist()


def test_a_compiled_memory_has_one_graph_for_any_number_of_rows() -> None:
    from torch._dynamo import config, maybe_mark_dynamic  # takes seconds to import

    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(pick, backend=backend)
    with config.patch(automatic_dynamic_shapes=False):
        for rows in (3, 4):
            x, index = torch.rand(rows, 5, 3, 2), torch.randint(0, 5, (rows, 4))
            for tensor in (x, index):
                maybe_mark_dynamic(tensor, 0)
            assert torch.equal(compiled(x, index), torch.stack([a[i] for a, i in zip(x, index, strict=True)]))
    assert len(graphs) == 1
