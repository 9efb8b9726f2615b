"""Asking the hub before a run: unreachable, gated, private, missing, and what its cache has."""

from __future__ import annotations

import http.server
import threading

import pytest
from huggingface_hub import HfApi, constants
from transformers import BertConfig

from ultra_core.errors import UltraError
from ultra_train.hf.hub import HubName, require_hub

MODEL = HubName("base_model", "owner/model", "model")
TOKENIZER = HubName("tokenizer.name_or_path", "owner/model", "model")
DATASET = HubName("training.dataset", "owner/texts", "dataset")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    """No token, an empty cache, and no offline mode left from a test."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that answers every request alike: ``hub(status, headers)``."""
    servers = []

    def serve(status, **headers):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()

            do_GET = do_HEAD

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        point_at(monkeypatch, f"http://127.0.0.1:{servers[-1].server_port}")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def point_at(monkeypatch, endpoint):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=endpoint))


@pytest.fixture
def refused(monkeypatch):
    """A hub that accepts no connections."""
    point_at(monkeypatch, "http://127.0.0.1:9")


def cache(tmp_path):
    folder = tmp_path / "hub" / "models--owner--model"
    BertConfig().save_pretrained(folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")


def test_a_hub_that_cannot_be_reached_is_said_at_once_with_the_keys_for_local_copies(refused, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("the libraries would try again for minutes"))
    with pytest.raises(UltraError) as caught:
        require_hub([MODEL, TOKENIZER, DATASET])
    (line,) = str(caught.value).splitlines()
    assert "the Hugging Face hub cannot be reached (ConnectError" in line
    assert "no copy of owner/model, owner/texts" in line
    keys = ["base_model", "tokenizer.name_or_path", "training.dataset"]
    assert line.endswith(" ".join(f"--set {key}=PATH" for key in keys))


def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("ultra_train.hf.hub._request", lambda item: pytest.fail("it was asked"))
    with pytest.raises(UltraError, match=r"\(HF_HUB_OFFLINE is set\).*no copy of owner/model; give"):
        require_hub([MODEL])


def test_what_the_cache_has_is_used_and_the_hub_is_not_asked_again(refused, tmp_path):
    cache(tmp_path)
    assert "the copies in its cache are used" in require_hub([MODEL, TOKENIZER])
    assert constants.HF_HUB_OFFLINE
    with pytest.raises(UltraError, match=r"no copy of owner/texts; give local copies: --set training\.d"):
        require_hub([MODEL, DATASET])


def test_a_gated_model(hub):
    hub(403, X_Error_Code="GatedRepo")
    with pytest.raises(UltraError, match=r"base_model: owner/model is gated: accept its terms.*HF_TOKEN"):
        require_hub([MODEL])


@pytest.mark.parametrize(
    ("token", "said"), [(None, "has no public model of this name"), ("hf_x", "refuses it to the token")]
)
def test_a_model_that_is_not_there_or_a_token_that_is_refused(hub, monkeypatch, token, said):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    hub(401, X_Error_Message="Invalid credentials in Authorization header")
    with pytest.raises(UltraError, match=rf"{said}.*status 401.*--set base_model=PATH --set tokenizer"):
        require_hub([MODEL, TOKENIZER])


def test_what_is_refused_but_cached_is_used(hub, tmp_path):
    cache(tmp_path)
    hub(401, X_Error_Code="RepoNotFound")
    assert require_hub([MODEL]) is None


def test_a_hub_in_trouble_is_one_that_cannot_be_reached(hub):
    hub(503)
    with pytest.raises(UltraError, match=r"cannot be reached \(it answers with status 503\)"):
        require_hub([DATASET])


def test_a_hub_that_has_everything(hub):
    hub(200, ETag='"x"', X_Repo_Commit="abc")
    assert require_hub([MODEL]) is None
    hub(404, X_Error_Code="EntryNotFound")
    assert require_hub([MODEL]) is None, "a repository without config.json has other files"
