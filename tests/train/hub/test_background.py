from __future__ import annotations

import errno
import os
import signal
import sys
import threading

import pytest

from support.local_hub import local_hub
from ultra_train.hub import background
from ultra_train.hub.background import BackgroundPush

SCRIPTS = {
    "works": "print('noise'); print('{\"address\": \"https://hub/somebody/model\"}')",
    "fails": 'print(\'{"error": "there is no token for the hub."}\')',
    "breaks": "import sys; sys.exit('RuntimeError: a bug')",
    "hangs": "import time; time.sleep(60)",
}


@pytest.fixture
def push(tmp_path, monkeypatch):
    """Push with a script in the place of the process; return what is said."""
    (tmp_path / "weights").write_bytes(b"x" * 2_000_000)
    real, said = background.subprocess.Popen, []
    monkeypatch.setattr(background, "SHORTLY", 0.05)

    def run(script, inside=lambda process: None, **options):
        def start(command, **rest):
            return real([sys.executable, "-S", "-c", SCRIPTS[script]], **rest)

        monkeypatch.setattr(background.subprocess, "Popen", start)
        with BackgroundPush(
            tmp_path, "model", again="ultra-train push runs/a", say=said.append, **options
        ) as it:
            inside(it.push.process)
        assert it.push.ended  # nothing is left behind
        return said

    return run


def test_a_push_that_works_says_where(push):
    assert push("works")[-1] == "pushed to https://hub/somebody/model"


@pytest.mark.parametrize(
    ("script", "reason"), [("fails", "there is no token for the hub"), ("breaks", "RuntimeError: a bug")]
)
def test_one_that_fails_says_why_and_what_to_do(push, tmp_path, script, reason):
    line = push(script)[-1]
    assert line == (
        f"not pushed to model: {reason}. The model is in {tmp_path}; push it with: ultra-train push runs/a"
    )


def test_the_wait_is_bounded(push):
    said = push("hangs", patience=0.1)
    assert "waiting" in said[0]
    assert "it takes longer than 0 s" in said[1]


def test_the_bound_grows_with_the_model(tmp_path):
    (tmp_path / "weights").write_bytes(b"x" * 2_000_000)
    assert BackgroundPush(tmp_path, "model", again="", say=print).patience == background.PATIENCE + 2


def test_a_signal_ends_the_wait_and_nothing_else(push):
    interrupt = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    said = push("hangs", inside=lambda _: interrupt.start())
    assert "the wait for it was interrupted" in said[-1]


def test_a_run_that_is_stopped_does_not_wait(push):
    def stop(process):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push("hangs", inside=stop)


def test_a_push_that_cannot_start_does_not_end_the_run(tmp_path, monkeypatch):
    def start(command, **options):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(background.subprocess, "Popen", start)
    said, done = [], []
    with BackgroundPush(tmp_path, "model", again="ultra-train push runs/a", say=said.append):
        done.append("the report")
    (line,) = said
    assert line.startswith("not pushed to model: [Errno 12] Cannot allocate memory. The model is in ")
    assert done == ["the report"]


def test_the_real_process_pushes(tmp_path, monkeypatch):
    said = []
    (tmp_path / "README.md").write_text("# A model\n")
    with local_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_a")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        with BackgroundPush(tmp_path, "model", again="", say=said.append, patience=60):
            pass
        assert said[-1] == f"pushed to {hub.address}/somebody/model"
        assert set(hub.files) == {"README.md"}
