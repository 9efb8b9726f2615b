"""plugin check: the conformance kit as a plugin author sees it."""

import pytest

from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_core import norms


def test_a_norm_that_keeps_its_promises(ultra):
    result = ultra("plugin", "check", "norms:rms_norm")
    assert result.exit_code == 0, result.output
    assert result.output.endswith("rms_norm: 25 kept, 0 broken\n")
    assert "kept    N1 rms_norm (mixer): A norm acts" in result.output


class MixesTokens(RMSNorm):
    """Looks at the batch."""

    def forward(self, x):
        """Add the mean of the batch."""
        return super().forward(x) + x.mean()


def test_a_norm_that_breaks_them(ultra, monkeypatch):
    monkeypatch.setattr(norms, "_added", [])
    norms.add("mixes_tokens", MixesTokens)
    result = ultra("plugin", "check", "mixes_tokens")
    assert result.exit_code == 1
    assert "broken  N1 mixes_tokens" in result.output
    assert result.output.splitlines()[-1] == "mixes_tokens: 20 kept, 5 broken"


@pytest.mark.parametrize("name", ["cosine", "nothing_like_it"])
def test_what_has_no_kit(ultra, name):
    result = ultra("plugin", "check", name)
    assert result.exit_code == 2
    assert "conformance kits for blocks, norms, ffns, positions, optimizers" in result.stderr
