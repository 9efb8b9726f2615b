import pytest


@pytest.fixture(scope="session")
def twins(tmp_path_factory):
    """The folder of base models, tokenizers and data sets that twins share."""
    return tmp_path_factory.mktemp("twins")


@pytest.fixture(autouse=True)
def _no_full_collection(monkeypatch):
    """Accelerate collects garbage before every training: half a second with transformers loaded."""
    monkeypatch.setattr("gc.collect", lambda *args: 0)
