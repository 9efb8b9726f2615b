import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder.embeddings import Embeddings
from ultra_blocks.encoder.mlm_head import MLMHead, masked_positions, mlm_loss
from ultra_blocks.norms.layer_norm import LayerNorm


def make(factor=None):
    torch.manual_seed(0)
    embeddings = Embeddings(20, 8, factor=factor).double()
    head = MLMHead(8, 20, norm=LayerNorm(8), factor=factor).double()
    head.reset_parameters(std=0.5)
    head.tie(embeddings)
    return embeddings, head


@pytest.mark.parametrize("factor", [None, 3])
def test_equals_the_formula(factor):
    embeddings, head = make(factor)
    h = torch.randn(5, 8, dtype=torch.float64)
    inner = head.norm(F.gelu(h @ head.dense.weight.T + head.dense.bias))
    if factor:
        inner = inner @ embeddings.projection.weight
    expected = inner @ embeddings.tokens.weight.T + head.decoder.bias
    torch.testing.assert_close(head(h), expected, rtol=0, atol=1e-12)
    assert head.decoder.weight is embeddings.tokens.weight


def test_activation_and_biases_may_be_others():
    torch.manual_seed(0)
    head = MLMHead(8, 20, norm=LayerNorm(8), activation="silu", bias=False, decoder_bias=False).double()
    h = torch.randn(5, 8, dtype=torch.float64)
    expected = head.norm(F.silu(h @ head.dense.weight.T)) @ head.decoder.weight.T
    torch.testing.assert_close(head(h), expected, rtol=0, atol=1e-12)
    assert set(head.parameter_info()) == {"dense.weight", "decoder.weight"}


@pytest.mark.parametrize("factor", [None, 3])
def test_masked_positions_only_equals_full_head_then_select(factor):
    # SPEC 4.1 B19: loss and all gradients
    embeddings, head = make(factor)
    hidden = torch.randn(3, 7, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.where(torch.rand(3, 7) < 0.3, torch.randint(20, (3, 7)), -100)
    wanted = [hidden, *{id(p): p for p in (*head.parameters(), *embeddings.parameters())}.values()]
    chosen, targets = masked_positions(hidden, labels)
    sparse = mlm_loss(head(chosen), targets)
    full = mlm_loss(head(hidden).flatten(0, 1), labels.flatten())
    oracle = F.cross_entropy(head(hidden)[labels != -100], labels[labels != -100])
    assert (chosen.shape[0], len(targets)) == ((labels != -100).sum(),) * 2
    for loss in (full, oracle):
        assert abs(loss.item() - sparse.item()) < 1e-12
        pairs = zip(
            torch.autograd.grad(sparse, wanted, retain_graph=True),
            torch.autograd.grad(loss, wanted, retain_graph=True),
            strict=True,
        )
        assert all((a - b).abs().max() < 1e-12 for a, b in pairs)


def test_nothing_masked_gives_a_zero_loss_with_zero_gradients():
    _, head = make()
    hidden = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    loss = mlm_loss(*_decoded(head, hidden, torch.full((2, 3), -100)))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in head.parameters())


def _decoded(head, hidden, labels):
    chosen, targets = masked_positions(hidden, labels)
    return head(chosen), targets


def test_dividing_by_the_items_of_an_update():
    _, head = make()
    hidden = torch.randn(4, 5, 8, dtype=torch.float64)
    labels = torch.where(torch.rand(4, 5) < 0.5, torch.randint(20, (4, 5)), -100)
    count = (labels != -100).sum()
    whole = mlm_loss(*_decoded(head, hidden, labels))
    parts = [
        mlm_loss(*_decoded(head, hidden[i : i + 1], labels[i : i + 1]), num_items=count) for i in range(4)
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=0, atol=1e-12)


def test_loss_of_half_logits_is_fp32():
    logits, labels = torch.randn(6, 20).bfloat16(), torch.randint(20, (6,))
    loss = mlm_loss(logits, labels)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), labels))


def test_from_config_and_parameters_described():
    config = UltraConfig(
        vocab_size=20, hidden_size=8, use_factorized_embedding=True, factorized_embedding_dim=3
    )
    head = MLMHead.from_config(config)
    assert head.norm.place == "head"
    described = {*head.parameter_info(), *(f"norm.{name}" for name in head.norm.parameter_info())}
    assert described == {name for name, _ in head.named_parameters()}
    assert head.parameter_info()["decoder.weight"].kind == "head"
    assert not head.parameter_info()["decoder.bias"].decay
