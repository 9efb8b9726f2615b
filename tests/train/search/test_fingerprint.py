import json

import pytest

from ultra_train.search.errors import SearchError
from ultra_train.search.fingerprint import fingerprint


def model(folder, *, weights=b"w", **settings):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {}, **settings}))
    return folder


def test_a_copy_saved_by_another_version_is_the_same_model(tmp_path):
    first = model(tmp_path / "a", __version__={"pytorch": "2.1"})
    second = model(tmp_path / "b", __version__={"pytorch": "2.2"}, _name_or_path="/x")
    (second / "README.md").write_text("card")
    assert fingerprint(first) == fingerprint(second)


def test_other_weights_and_other_prompts_are_another_model(tmp_path):
    made = [
        model(tmp_path / "a"),
        model(tmp_path / "b", weights=b"v"),
        model(tmp_path / "c", prompts={"query": "query: "}),
    ]
    assert len({fingerprint(folder) for folder in made}) == 3


def test_a_folder_without_weights_is_no_model(tmp_path):
    with pytest.raises(SearchError, match="holds no weights"):
        fingerprint(tmp_path)
