import pytest
import torch

from ultra_blocks.encoder.embeddings import EmbeddingConv, Embeddings
from ultra_blocks.layout import Layout
from ultra_blocks.norms.layer_norm import LayerNorm


def plain_convolution(x, weight, left):
    """One document (T, R): every token looks at its neighbours, of which there are none beyond the ends."""
    y = torch.zeros_like(x)
    for t in range(len(x)):
        for j in range(weight.shape[-1]):
            if 0 <= t - left + j < len(x):
                y[t] += weight[:, 0, j] * x[t - left + j]
    return y


def make(kernel, causal=False, channels=3):
    conv = EmbeddingConv(channels, kernel, causal=causal).double()
    conv.reset_parameters(std=1.0)
    return conv


@pytest.mark.parametrize(
    ("kernel", "causal", "left"), [(32, False, 15), (32, True, 31), (3, False, 1), (1, False, 0)]
)
@pytest.mark.parametrize("length", [1, 7, 40])
def test_convolution_equals_the_formula(kernel, causal, left, length):
    torch.manual_seed(0)
    conv = make(kernel, causal)
    x = torch.randn(2, length, 3, dtype=torch.float64)
    expected = torch.stack([plain_convolution(row, conv.weight, left) for row in x])
    assert (conv.left, conv.right) == (left, kernel - 1 - left)
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)


MASKS = {
    "right": [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]],
    "left": [[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]],
    "inside": [[1, 0, 1, 1, 0, 0, 1], [0, 1, 1, 1, 0, 1, 1]],
    "empty row": [[0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]],
    "nothing": [[0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]],
}


@pytest.mark.parametrize("name", list(MASKS))
@pytest.mark.parametrize("causal", [False, True])
def test_padding_does_not_leak(name, causal):
    # regression a18: symmetric padding, and pads read by the bias
    torch.manual_seed(0)
    conv = make(4, causal)
    mask = torch.tensor(MASKS[name]).bool()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    y = conv(torch.where(mask[..., None], x, 1e6), Layout.from_mask(mask))
    for row in range(2):
        alone = plain_convolution(x[row][mask[row]], conv.weight, conv.left)
        torch.testing.assert_close(y[row][mask[row]], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_documents_of_a_row_do_not_mix(causal):
    torch.manual_seed(0)
    conv = make(5, causal)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1]]).bool()
    documents = torch.tensor([[0, 0, 0, 1, 2, 2, 2], [0, 0, 0, 0, 0, 1, 1]])
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    y = conv(x, Layout.from_mask(mask, documents))
    for row in range(2):
        for document in range(3):
            here = mask[row] & (documents[row] == document)
            alone = plain_convolution(x[row][here], conv.weight, conv.left)
            torch.testing.assert_close(y[row][here], alone, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(y[0, 3].sum(), x)
    reached = gradient.abs().sum(-1).nonzero().tolist()
    assert reached == [[0, 3]]


def test_convolution_starts_near_the_identity():
    torch.manual_seed(0)
    conv = EmbeddingConv(8, 32)
    x = torch.randn(2, 20, 8)
    assert (conv(x) - x).std() < 0.2


def test_factorized_table_equals_the_product():
    torch.manual_seed(0)
    embeddings = Embeddings(11, 8, factor=3).double()
    ids = torch.randint(11, (2, 5))
    table = embeddings.tokens.weight @ embeddings.projection.weight.T
    torch.testing.assert_close(embeddings(ids, Layout.full(2, 5)), table[ids], rtol=0, atol=1e-14)
    assert sum(p.numel() for p in embeddings.parameters()) == 11 * 3 + 3 * 8


def test_factorizing_keeps_the_scale():
    torch.manual_seed(0)
    for factor in (16, 128):
        embeddings = Embeddings(500, 256, factor=factor)
        ids = torch.arange(500)[None]
        assert embeddings(ids, Layout.full(1, 500)).std().item() == pytest.approx(0.02, rel=0.1)


def test_everything_together_in_order():
    class Shift(torch.nn.Module):
        kind = "embed"

        def embed(self, layout):
            return layout.positions[..., None].double()

    torch.manual_seed(0)
    norm = LayerNorm(8).double()
    embeddings = Embeddings(11, 8, factor=3, conv_kernel=2, positions=Shift(), norm=norm).double()
    ids = torch.randint(11, (2, 5))
    x = embeddings.conv(embeddings.tokens(ids)) @ embeddings.projection.weight.T
    expected = norm(x + torch.arange(5)[None, :, None])
    torch.testing.assert_close(embeddings(ids, Layout.full(2, 5)), expected, rtol=0, atol=1e-14)


def test_ids_at_padding_may_be_anything():
    embeddings = Embeddings(11, 8)
    mask = torch.tensor([[True, True, False]])
    ids = torch.tensor([[3, 4, -100]])
    x = embeddings(ids, Layout.from_mask(mask))
    assert torch.equal(x[0, :2], embeddings.tokens.weight[3:5])


def test_embeddings_given_instead_of_ids():
    embeddings = Embeddings(11, 8, factor=3, conv_kernel=3)
    ids = torch.randint(11, (2, 5))
    layout = Layout.full(2, 5)
    assert torch.equal(embeddings(None, layout, embeddings.tokens(ids)), embeddings(ids, layout))
    with pytest.raises(ValueError, match="both are None"):
        embeddings(None, layout)


def test_parameters_are_described():
    embeddings = Embeddings(11, 8, factor=3, conv_kernel=3)
    info = embeddings.parameter_info() | {
        f"conv.{name}": described for name, described in embeddings.conv.parameter_info().items()
    }
    assert set(info) == {name for name, _ in embeddings.named_parameters()}
    assert {i.role for i in info.values()} == {"embeddings"}
    assert {name: i.kind for name, i in info.items()} == {
        "tokens.weight": "embedding",
        "conv.weight": "conv",
        "projection.weight": "matrix",
    }
