from __future__ import annotations

import io

from rich.console import Console
from transformers import TrainerState

from ultra_train.callbacks.progress import ProgressCallback


def feed(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    callback = ProgressCallback(console, {"eval_accuracy": ("accuracy", ".1%")}, seconds=0.0)
    state = TrainerState(max_steps=10, is_world_process_zero=True)
    callback.on_train_begin(None, state, None)
    for step in range(1, 6):
        state.global_step = step
        callback.on_step_end(None, state, None)
        callback.on_log(None, state, None, {"loss": 1.5, "tokens_per_second": 1234.0})
    callback.on_log(None, state, None, {"eval_loss": 2.5, "eval_accuracy": 0.25})
    callback.on_train_end(None, state, None)
    return console.file.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    text = feed(terminal=False)
    assert "step 5/10  loss 1.500  1,234 tokens/s  0:00:00 left" in text
    assert "step 5/10  held-out loss 2.500  accuracy 25.0%" in text
    assert "\x1b" not in text


def test_a_bar_on_a_terminal():
    text = feed(terminal=True)
    assert "5/10" in text
    assert "1,234 tokens/s" in text
