from __future__ import annotations

from types import SimpleNamespace

import pytest

from ultra_core.errors import PluginError
from ultra_train.callbacks.samples import SamplesCallback
from ultra_train.tasks.base import Guess, Sample

SAMPLE = Sample(given="la ____", expected="luz", guesses=(Guess(text="voz", score=0.5),))


@pytest.mark.parametrize("main", [True, False])
def test_every_process_makes_samples_and_the_first_one_writes_them(main):
    written, made = [], []
    callback = SamplesCallback(lambda: made.append(1) or [SAMPLE], written.append)
    callback.on_evaluate(None, SimpleNamespace(global_step=7, is_world_process_zero=main), None)
    expected = {"given": "la ____", "expected": "luz", "guesses": ({"text": "voz", "score": 0.5},)}
    assert made == [1]
    assert written == ([{"step": 7, "event": "samples", "samples": [expected]}] if main else [])


def test_a_task_without_samples_writes_nothing():
    written = []
    state = SimpleNamespace(global_step=7, is_world_process_zero=True)
    SamplesCallback(lambda: [], written.append).on_evaluate(None, state, None)
    assert written == []


def test_what_is_no_sample_is_refused():
    state = SimpleNamespace(global_step=7, is_world_process_zero=True)
    with pytest.raises(PluginError, match="'la luz' is no Sample"):
        SamplesCallback(lambda: ["la luz"], print).on_evaluate(None, state, None)
