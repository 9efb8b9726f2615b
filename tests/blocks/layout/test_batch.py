import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree

from ultra_blocks.layout import Layout


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """A mask with padding anywhere and documents numbered in reading order, whatever at padding."""
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    flags = st.lists(st.booleans(), min_size=length, max_size=length)
    mask = torch.tensor([draw(flags) for _ in range(batch)])
    steps = st.lists(st.integers(0, 2), min_size=length, max_size=length)
    documents = torch.tensor([draw(steps) for _ in range(batch)]).cumsum(1)
    return mask, torch.where(mask, documents, draw(st.integers(-5, 50)))


@given(batches())
def test_numbers_documents_and_positions_over_real_tokens(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    mask, documents = batch
    layout = Layout.from_mask(mask, documents)
    lengths = []
    for b in range(mask.shape[0]):
        seen: list[int] = []
        count = 0
        for t in range(mask.shape[1]):
            if not mask[b, t]:
                assert layout.documents[b, t] == -1
                assert layout.positions[b, t] == 0
                assert not layout.starts[b, t]
                assert layout.reversal[b, t] == t
                continue
            first = not seen or documents[b, t] != seen[-1]
            if first:
                seen.append(int(documents[b, t]))
                lengths.append(0)
            count = 0 if first else count + 1
            lengths[-1] += 1
            assert layout.starts[b, t] == first
            assert layout.documents[b, t] == len(seen) - 1
            assert layout.positions[b, t] == count
    assert layout.cu_seqlens.dtype is torch.int32
    assert layout.cu_seqlens.diff().tolist() == lengths
    assert layout.max_seqlen == max(lengths, default=0)
    assert layout.segments.real.tolist() == mask.flatten().nonzero().flatten().tolist()
    assert layout.padded == (not mask.all())
    assert layout.packed == bool((layout.documents > 0).any())
    assert layout.dense == (not layout.padded and not layout.packed)
    columns = torch.arange(mask.shape[1])
    assert layout.indexed == bool(((layout.positions == columns) | ~mask).all())


@given(batches())
def test_reversal_reverses_each_document_in_place(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    mask, documents = batch
    layout = Layout.from_mask(mask, documents)
    for b in range(mask.shape[0]):
        for document in layout.documents[b].unique():
            if document >= 0:
                places = (layout.documents[b] == document).nonzero().flatten()
                assert layout.reversal[b, places].tolist() == places.flip(0).tolist()
    assert torch.equal(
        layout.reversal.gather(1, layout.reversal), torch.arange(mask.shape[1]).expand_as(mask)
    )


@given(batches())
def test_real_first_brings_neighbours_together(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    layout = Layout.from_mask(*batch)
    rows, x = layout.real_first, torch.randn(*layout.mask.shape, 2)
    gathered = rows.gather(x)
    for b, real in enumerate(layout.mask):
        n = int(real.sum())
        assert rows.mask[b].tolist() == [True] * n + [False] * (len(real) - n)
        assert torch.equal(gathered[b, :n], x[b, real])
        if rows.documents is not None:
            assert rows.documents[b, :n].tolist() == layout.documents[b, real].tolist()
    assert (rows.documents is None) == (not layout.packed)
    assert torch.equal(rows.scatter(gathered), x)


def test_rows_that_are_real_first_are_not_gathered() -> None:
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    assert Layout.from_mask(mask).real_first.order is None
    assert Layout.from_mask(mask.flip(1)).real_first.order is not None


@given(batches(), st.booleans(), st.sampled_from([None, 1, 2, 3]))
def test_attention_mask_by_its_definition(
    batch: tuple[torch.Tensor, torch.Tensor], causal: bool, window: int | None
) -> None:
    layout = Layout.from_mask(*batch)
    mask = layout.attention_mask(causal, window)
    rows, length = layout.mask.shape
    if mask is None:
        assert layout.dense
        assert not causal
        assert window is None
        return
    whole = mask.expand(rows, 1, length, length)
    for b in range(rows):
        for i in range(length):
            if not layout.mask[b, i]:
                assert whole[b, 0, i].any()
                continue
            for j in range(length):
                back = int(layout.positions[b, i] - layout.positions[b, j])
                near = window is None or (back <= window if causal else abs(back) <= window // 2)
                same = bool(layout.mask[b, j]) and layout.documents[b, i] == layout.documents[b, j]
                assert whole[b, 0, i, j] == (same and near and not (causal and j > i))


def test_full_is_what_a_full_mask_gives() -> None:
    full, masked = Layout.full(2, 5), Layout.from_mask(torch.ones(2, 5, dtype=torch.bool))
    for name in ("mask", "documents", "positions"):
        assert torch.equal(getattr(full, name), getattr(masked, name))
    assert (full.dense, full.packed, full.indexed) == (masked.dense, masked.packed, masked.indexed)
    assert full.attention_mask() is None


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("given", [False, True])
def test_a_batch_without_rows_or_tokens_is_full(shape: tuple[int, int], given: bool) -> None:
    empty = torch.zeros(shape, dtype=torch.long)
    layout = Layout.from_mask(empty.bool(), *((empty, empty) if given else ()))
    full = Layout.full(*shape)
    for name in ("mask", "documents", "positions", "starts", "reversal"):
        assert torch.equal(getattr(layout, name), getattr(full, name))
        assert getattr(layout, name).shape == shape
    assert (layout.dense, layout.packed, layout.indexed) == (full.dense, full.packed, full.indexed)
    assert layout.real_first.order is None
    assert (layout.cu_seqlens.tolist(), layout.max_seqlen) == ([0], 0)
    assert layout.attention_mask(causal=True).shape[-1] == shape[1]  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_a_mask_of_integers(dtype: torch.dtype) -> None:
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    layout, expected = Layout.from_mask(mask.to(dtype)), Layout.from_mask(mask.bool())
    assert layout.mask.dtype is torch.bool
    for name in ("mask", "documents", "positions"):
        assert torch.equal(getattr(layout, name), getattr(expected, name))


def test_interior_padding_is_not_indexed_even_with_columns_as_positions() -> None:
    mask = torch.tensor([[True, False, True]])
    assert not Layout.from_mask(mask, positions=torch.arange(3)[None]).indexed
    assert Layout.from_mask(torch.tensor([[True, True, False]])).indexed


def test_given_positions_are_kept_at_real_tokens() -> None:
    mask = torch.tensor([[False, True, True]])
    layout = Layout.from_mask(mask, positions=torch.tensor([[-3, 7, 9]]))
    assert layout.positions.tolist() == [[0, 7, 9]]
    assert not layout.indexed


def test_zero_padding_blocks_nan_in_both_directions() -> None:
    layout = Layout.from_mask(torch.tensor([[True, False]]))
    x = torch.tensor([[[1.0], [float("nan")]]], requires_grad=True)
    y = layout.zero_padding(x)
    assert y.tolist() == [[[1.0], [0.0]]]
    y.log1p().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[[0.5], [0.0]]]
    dense = Layout.full(1, 2)
    assert dense.zero_padding(x) is x


def test_zero_padding_where_nobody_may_look_at_the_mask() -> None:
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    x = torch.ones(3, 2, 4)
    want = Layout.from_mask(mask).zero_padding(x)
    rows = _pytree.tree_map(lambda leaf: leaf[:, None], Layout.from_mask(mask))
    got = torch.func.vmap(lambda row, layout: layout.zero_padding(row))(x[:, None], rows)
    assert torch.equal(got[:, 0], want)
    layout = Layout.from_mask(mask)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layout.zero_padding(torch.ones(3, 2, 4)).shape == (3, 2, 4)
    assert torch.equal(layout.zero_padding(x), want)


def test_is_a_pytree_whose_flags_are_static() -> None:
    layout = Layout.from_mask(torch.tensor([[True, False]]))
    leaves, spec = _pytree.tree_flatten(layout)
    assert [tuple(leaf.shape) for leaf in leaves] == [(1, 2)] * 3
    again = _pytree.tree_unflatten(leaves, spec)
    assert (again.padded, again.packed, again.indexed) == (True, False, True)
    assert again.memo == {}
    paths = [_pytree.keystr(path) for path, _ in _pytree.tree_flatten_with_path(layout)[0]]
    assert paths == [".mask", ".documents", ".positions"]


def test_remembers_once_a_forward() -> None:
    layout = Layout.full(1, 4)
    assert layout.attention_mask(causal=True) is layout.attention_mask(causal=True)
    assert layout.attention_mask(causal=True) is not layout.attention_mask(causal=True, window=2)


def test_is_carried_through_a_compiled_graph() -> None:
    layout = Layout.from_mask(torch.tensor([[True, True, False]]))

    @torch.compile(backend="eager", fullgraph=True)
    def seen(x: torch.Tensor, layout: Layout) -> torch.Tensor:
        return layout.zero_padding(x) + layout.attention_mask().sum()  # type: ignore[union-attr]

    torch._dynamo.reset()
    assert seen(torch.ones(1, 3, 1), layout).flatten().tolist() == [3, 3, 2]
    assert layout.memo == {}


@pytest.mark.parametrize(
    ("mask", "documents", "positions", "message"),
    [
        (torch.full((2, 3), 0.5), None, None, "1 at real tokens and 0 at padding"),
        (torch.zeros(2, 3), None, None, "a row of floats without a 1"),
        (torch.ones(2, 3).to(torch.cfloat), None, None, "given torch.complex64"),
        (torch.tensor([[1, 1, 2, 2]]), None, None, "1 at real tokens and 0 at padding"),
        (torch.tensor([[0, 1, -9999]]), None, None, "1 at real tokens and 0 at padding"),
        (torch.ones(3, dtype=torch.bool), None, None, r"\(batch, length\)"),
        ([[True]], None, None, "given list"),
        (torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 2).long(), None, "documents must be an integer"),
        (torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3), None, "documents must be an integer"),
        (torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0, 1, 0]]), None, "goes down"),
        (torch.ones(1, 3, dtype=torch.bool), torch.tensor([[-1, 0, 0]]), None, "negative"),
        (torch.ones(1, 3, dtype=torch.bool), None, torch.zeros(1, 3), "positions must be an integer"),
        (torch.ones(1, 3, dtype=torch.bool), None, torch.tensor([[0, -1, 2]]), "positions must be 0 or more"),
    ],
)
def test_says_what_is_wrong(
    mask: torch.Tensor, documents: torch.Tensor | None, positions: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Layout.from_mask(mask, documents, positions)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (2, 3, 5), (2,)])
def test_refuses_another_batch(shape: tuple[int, ...]) -> None:
    mask = torch.ones(2, 4, dtype=torch.bool)
    for layout in (Layout.full(2, 4), Layout.from_mask(mask.index_fill(1, torch.tensor([3]), False))):
        with pytest.raises(ValueError, match=r"\(batch, length\) \(2, 4\)"):
            layout.zero_padding(torch.ones(shape))
