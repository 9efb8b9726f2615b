from __future__ import annotations

import pytest

from support.local_hub import local_hub
from ultra_train.hub import upload as module
from ultra_train.hub.upload import WAITS, PushError, upload


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with local_hub() as running:
        yield running


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text("---\ntags: [ultra]\n---\n# A model\n")
    (folder / "config.json").write_text("{}")
    (folder / ".unfinished").write_text("")
    return folder


def push(hub, model, **options):
    options.setdefault("token", "hf_a")
    return upload(model, "model", endpoint=hub.address, **options)


def test_the_folder_is_one_commit_with_its_card(hub, model):
    assert push(hub, model) == f"{hub.address}/somebody/model"
    assert set(hub.files) == {"README.md", "config.json"}
    assert hub.files["README.md"] == (model / "README.md").read_bytes()
    assert hub.tokens == {"Bearer hf_a"}
    assert sum("/commit/" in path for path in hub.requests) == 1


def test_what_passes_is_tried_again(hub, model):
    hub.faults, said, slept = [503, "drop", 500], [], []
    assert push(hub, model, say=said.append, sleep=slept.append).endswith("/somebody/model")
    assert slept == list(WAITS[:3])
    assert hub.files
    assert "attempt 1 to push failed: the hub answered 503" in said[0]
    assert "the connection was lost" in said[1]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_connection_that_is_lost_in_the_middle_is_tried_again(hub, model, after):
    hub.faults = [None] * after + ["drop"]
    assert push(hub, model, sleep=lambda _: None).endswith("/somebody/model")
    assert hub.files


def test_it_gives_up_after_a_number_of_attempts(hub, model):
    hub.faults, slept = [500] * 20, []
    with pytest.raises(PushError, match="the hub answered 500: no"):
        push(hub, model, sleep=slept.append)
    assert slept == list(WAITS)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"the hub refused the token \(401.*hf auth login.*HF_TOKEN"),
        (403, "the token may not write to model"),
        (400, "the hub refused the push to model"),
    ],
)
def test_what_does_not_pass_is_said_at_once(hub, model, status, message):
    hub.faults = [status]
    with pytest.raises(PushError, match=message):
        push(hub, model, sleep=pytest.fail)
    assert not hub.files


def test_a_hub_that_does_not_answer_is_a_lost_connection(hub, model, monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.1)
    hub.faults = ["hang"]
    assert push(hub, model, sleep=lambda _: None).endswith("/somebody/model")


def test_a_hub_that_is_not_there(hub, model):
    with pytest.raises(PushError, match=r"http://127.0.0.1:9 cannot be reached"):
        upload(model, "model", endpoint="http://127.0.0.1:9", token="hf_a", sleep=lambda _: None)


def test_a_machine_that_is_offline_on_purpose(hub, model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PushError, match="HF_HUB_OFFLINE is set"):
        push(hub, model, sleep=pytest.fail)


def test_without_a_token_nothing_is_asked(hub, model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(PushError, match="there is no token"):
        push(hub, model, token=None)
    assert not hub.requests
