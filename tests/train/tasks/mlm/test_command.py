"""fill-mask: guesses, one line a blank."""

import sys
import types

from ultra_core.errors import UltraError


def fake(monkeypatch, answer):
    monkeypatch.setitem(
        sys.modules, "ultra_train.tasks.mlm.fill_mask", types.SimpleNamespace(fill_mask=answer)
    )


def test_it_prints_guesses(ultra, monkeypatch):
    guess = types.SimpleNamespace

    def answer(model, texts, top_k, *, runs, trust_remote_code):
        assert (model, texts, top_k, runs) == ("runs/x", ["abre la [MASK]", "[MASK]"], 2, "runs")
        assert not trust_remote_code
        first = [guess(token="puerta", probability=0.91), guess(token="luz", probability=0.05)]
        return [[first], [first[:1]]]

    fake(monkeypatch, answer)
    result = ultra("fill-mask", "runs/x", "abre la [MASK]", "[MASK]", "--top-k", "2")
    assert result.output.splitlines() == [
        "abre la [MASK]",
        "  puerta 0.91  luz 0.05",
        "[MASK]",
        "  puerta 0.91",
    ]


def test_errors_are_plain(ultra, monkeypatch):
    def answer(*_, **__):
        raise UltraError("there is no model in runs/x")

    fake(monkeypatch, answer)
    result = ultra("fill-mask", "runs/x", "[MASK]")
    assert result.exit_code == 2
    assert result.stderr == "error: there is no model in runs/x\n"
