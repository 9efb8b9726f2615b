"""The benchmark of the blocks says what they claim about growth, and from where linear ones win."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LINEAR = ("retnet", "mamba", "gla", "hgrn2", "longformer_attn", "deltanet", "gated_deltanet", "kda")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the benchmark importable as ``blocks``, which is the name of a folder of tests, too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    folder = sys.modules.pop("blocks", None)
    yield
    sys.modules.pop("blocks", None)
    if folder is not None:
        sys.modules["blocks"] = folder


def test_growth_is_claimed_of_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    import blocks
    from work import Setting

    times = {(name, length): time for name in LINEAR for length, time in ((512, 10.0), (4096, 14.0))}
    blocks.compare(Setting(), [], 1, {**times, ("standard_attn", 512): 1.0, ("standard_attn", 4096): 9.0})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["claim", "measured", "target", "held"]
    found = {row[0]: row[1:] for row in rows[2:]}
    tight, loose = ["1.40", "<= 1.3", "NO"], ["1.40", "<= 1.5", "yes"]
    assert found == {
        f"{name}, T = 4096 / T = 512": loose if name in ("deltanet", "gated_deltanet", "kda") else tight
        for name in LINEAR
    }


def test_no_growth_is_claimed_of_lengths_that_were_not_measured() -> None:
    from block_claims import growth_claims

    assert growth_claims({("gla", 512): 1.0, ("gla", 1024): 1.0}) == []


@pytest.mark.parametrize(
    ("name", "slow", "said"),
    [("kda", 30.0, "> 1,024"), ("kda", 5.0, "1,024"), ("fox_attn", 5.0, "")],
)
def test_where_a_linear_block_wins_is_always_said(name: str, slow: float, said: str) -> None:
    from blocks import wins_from

    ms = {(name, 512): 30.0, (name, 1024): slow, ("standard_attn", 512): 5.0, ("standard_attn", 1024): 10.0}
    assert wins_from(name, (512, 1024), ms) == said
    assert wins_from(name, (512, 1024), {(name, t): ms[name, t] for t in (512, 1024)}) == ""


def test_a_gpu_has_attention_with_and_without_a_mask_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import block_peers as peers
    from work import Setting

    assert peers.sdpa_layers(Setting()) == {}
    (layer, masked), (same, full) = peers.sdpa_layers(Setting(width=8, heads=2, device="cuda")).values()
    assert layer is same
    allowed = []
    kernels = peers.sdpa_kernel
    monkeypatch.setattr(peers, "sdpa_kernel", lambda k, **kw: allowed.extend(k) or kernels(k, **kw))
    x, mask = torch.randn(1, 4, 8), torch.tensor([[True, True, True, False]])
    changed = torch.cat((x[:, :3], x[:, 3:] + 1), 1)
    torch.testing.assert_close(masked(x, mask)[:, :3], masked(changed, mask)[:, :3])
    assert not torch.allclose(full(x, mask)[:, :3], full(changed, mask)[:, :3])
    assert allowed[0] == SDPBackend.FLASH_ATTENTION
    assert SDPBackend.MATH not in allowed
