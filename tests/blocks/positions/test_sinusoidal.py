import math
from typing import Any

import pytest
import torch

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.layout import Layout
from ultra_blocks.positions.sinusoidal import Sinusoidal
from ultra_blocks.testing import position_cases, pytest_params


@pytest.mark.parametrize(("case", "rule"), pytest_params(position_cases([Sinusoidal])))
def test_conformance(case: Any, rule: Any) -> None:
    rule(case)


@pytest.mark.parametrize("width", [6, 8, 9])
def test_is_the_formula(width: int) -> None:
    p = torch.tensor([[0, 1, 7, 500]])
    layout = Layout.from_mask(torch.ones(1, 4, dtype=torch.bool), positions=p)
    got = Sinusoidal(width, base=100.0, scale=0.5).embed(layout)
    assert got.dtype is torch.float32
    half = (width + 1) // 2
    for column, position in enumerate(p[0].tolist()):
        angles = [position * 100.0 ** (-2 * j / width) for j in range(half)]
        wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles[: width // 2]]
        assert got[0, column].tolist() == pytest.approx([0.5 * w for w in wanted], abs=5e-5)


@pytest.mark.parametrize("width", [8, 9])
def test_is_marians_table(width: int) -> None:
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    table = MarianSinusoidalPositionalEmbedding(50, width)
    theirs = table.create_weight() if hasattr(table, "create_weight") else table.weight
    ours = Sinusoidal(width, scale=1.0).embed(Layout.full(1, 50))[0]
    torch.testing.assert_close(ours, torch.as_tensor(theirs).float(), rtol=0, atol=1e-5)


def test_is_distilberts_table_in_another_order() -> None:
    from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings

    theirs = torch.empty(50, 8)
    create_sinusoidal_embeddings(50, 8, theirs)
    ours = Sinusoidal(8, scale=1.0).embed(Layout.full(1, 50))[0]
    interleaved = torch.stack(ours.chunk(2, -1), -1).flatten(-2)
    torch.testing.assert_close(interleaved, theirs, rtol=0, atol=1e-5)


def test_counts_the_real_tokens_of_each_document() -> None:
    code = Sinusoidal(6)
    mask = torch.tensor([[False, True, True, False, True, True, True]])
    layout = Layout.from_mask(mask, torch.tensor([[0, 0, 0, 0, 0, 1, 1]]))
    alone = code.embed(Layout.full(1, 3))[0]
    assert torch.equal(code.embed(layout)[mask], alone[[0, 1, 2, 0, 1]])


def test_a_shift_is_a_rotation() -> None:
    """What the paper chose it for: P[p + k] is a linear map of P[p] that does not depend on p."""
    waves = Sinusoidal(8, scale=1.0).embed(Layout.full(1, 60))[0].double()
    sines, cosines = waves.chunk(2, -1)
    turned = sines[:50] * cosines[7] + cosines[:50] * sines[7]
    torch.testing.assert_close(turned, sines[7:57], rtol=0, atol=1e-5)


class TestInAModel:
    @staticmethod
    def encoder(**fields: Any) -> Any:
        sizes: dict[str, Any] = {
            "vocab_size": 9,
            "hidden_size": 12,
            "num_layers": 1,
            "num_heads": 2,
            "use_moe": False,
        }
        return Encoder(UltraConfig(**sizes, positions="sinusoidal", dropout=0.0, **fields)).eval()

    def test_it_orders_the_tokens_and_blocks_have_no_code(self) -> None:
        encoder = self.encoder(initializer_range=0.05)
        assert isinstance(encoder.embeddings.positions, Sinusoidal)
        assert encoder.embeddings.positions.scale == 0.05
        assert encoder.layers[0].mixer.positions.kind == "none"
        ids = torch.tensor([[1, 2, 3, 3], [3, 2, 1, 3]])
        y = encoder(ids).hidden[:, 1]
        assert (y[0] - y[1]).abs().max() > 1e-4

    def test_it_is_in_no_state_dict(self) -> None:
        assert not [name for name in self.encoder().state_dict() if "positions" in name]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_the_stream_keeps_its_dtype(self, dtype: torch.dtype) -> None:
        assert self.encoder().to(dtype)(torch.tensor([[1, 2, 3]])).hidden.dtype is dtype

    def test_padding_and_packing_change_nothing(self) -> None:
        encoder = self.encoder().double()
        ids = torch.tensor([[0, 1, 2, 0, 3, 4]])
        mask = torch.tensor([[False, True, True, False, True, True]])
        layout = Layout.from_mask(mask, torch.tensor([[0, 0, 0, 0, 1, 1]]))
        y = encoder(ids, layout).hidden[mask]
        alone = torch.cat([encoder(part).hidden[0] for part in (ids[:, 1:3], ids[:, 4:])])
        torch.testing.assert_close(y, alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"), [({"base": 1.0}, "base must be"), ({"scale": 0.0}, "scale must be")]
)
def test_refuses(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sinusoidal(4, **options)
