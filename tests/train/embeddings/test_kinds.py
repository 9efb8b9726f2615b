from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.kinds import kind_of, locate, read_json


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"config_sentence_transformers": {"model_type": "SparseEncoder"}, "modules": []}, "sparse"),
        ({"config_sentence_transformers": {"model_type": "SentenceTransformer"}, "modules": []}, "dense"),
        ({"config_sentence_transformers": {"model_type": "CrossEncoder"}}, "cross-encoder"),
        ({"config_sentence_transformers": {"model_type": "MultiVectorEncoder"}}, "multi-vector"),
        (
            {"config_sentence_transformers": {}, "modules": [], "config": {"architectures": ["BertModel"]}},
            "dense",
        ),
        ({"modules": [], "config": {"architectures": ["BertModel"]}}, "dense"),
        ({"modules": [], "config": {"architectures": ["UltraForMaskedLM"]}}, "masked-lm"),
        ({"config": {"architectures": ["BertForPreTraining"]}}, "masked-lm"),
        ({"config": {"architectures": ["BertForSequenceClassification"]}}, "cross-encoder"),
        ({"config": {"architectures": ["BertModel"]}}, "other"),
        ({"config": {}}, "other"),
    ],
)
def test_what_a_model_is(files, kind, tmp_path):
    assert kind_of(write(tmp_path, **files)) == kind


def test_a_run_of_mlm_leaves_a_masked_language_model(finished_run):
    assert kind_of(locate(finished_run)) == "masked-lm"


def test_folders_runs_and_names_of_runs(finished_run, tmp_path):
    model = str(finished_run / "model")
    assert locate(finished_run) == locate(model) == locate(finished_run.name, finished_run.parent) == model
    assert (
        locate("sentence-transformers/all-MiniLM-L6-v2", tmp_path) == "sentence-transformers/all-MiniLM-L6-v2"
    )


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("empty", "holds no model"),
        ("begun", "--resume finishes it"),
        ("modle/x/y", "there is no folder"),
        ("./modle", "Did you mean 'model'"),
        ("", "there is no folder"),
    ],
)
def test_what_is_no_model(where, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "begun", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "begun" / "config.yaml").touch()
    with pytest.raises(EncoderError, match=message):
        locate(where, tmp_path)


def test_a_file_that_was_cut_off(tmp_path):
    (tmp_path / "modules.json").write_text("[{")
    with pytest.raises(EncoderError, match="was not saved completely"):
        read_json(tmp_path, "modules.json")


def test_importing_it_imports_no_torch():
    code = "import sys, ultra_train.embeddings.kinds; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
