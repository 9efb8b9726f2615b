"""The model of a finished run."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from ultra_core.errors import UltraError


def test_the_model_loads_with_transformers_and_gives_the_trained_weights(finished_run):
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(finished_run / "model")
    last = load_file(finished_run / "checkpoints" / "checkpoint-12" / "model.safetensors")
    state = model.state_dict()
    assert last
    assert all(torch.equal(state[k], v) for k, v in last.items())
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "model")
    encoded = tokenizer("abre la puerta", return_tensors="pt")
    hidden = AutoModel.from_pretrained(finished_run / "model")(**encoded).last_hidden_state
    assert hidden.shape[-1] == 16
    assert "eval" not in (finished_run / "model" / "README.md").read_text().split("## Results")[0]


def test_the_model_loads_as_a_sentence_transformer(finished_run):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    texts = ["abre la puerta", "apaga la luz del salón"]
    encoder = SentenceTransformer(str(finished_run / "model"), trust_remote_code=True, device="cpu")
    vectors = encoder.encode(texts, convert_to_tensor=True)
    model = AutoModel.from_pretrained(finished_run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "model")
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(vector, hidden[0].mean(0))
    assert encoder.max_seq_length == 24


def test_the_finished_model_never_takes_the_place_of_anything(run_tiny, tmp_path):
    precious = tmp_path / "models"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    short = ("training.scheduler_total_steps=1", f"training.hf_output_dir={precious}")
    with pytest.raises(UltraError, match="nothing is overwritten"):
        run_tiny(tmp_path / "runs", *short)
    assert not (tmp_path / "runs").exists()
    elsewhere = f"training.hf_output_dir={tmp_path / 'elsewhere'}"
    run_tiny(tmp_path / "runs", short[0], elsewhere)
    (tmp_path / "elsewhere" / "notes.txt").write_text("mine")
    run_tiny(tmp_path / "runs", short[0], elsewhere, resume=True)
    assert {"notes.txt", "model.safetensors"} <= {p.name for p in (tmp_path / "elsewhere").iterdir()}
    assert not (tmp_path / ".elsewhere").exists()


def test_a_run_that_ends_early_with_its_best_weights(run_tiny, tmp_path):
    """The greatest loss counts as the best one, so that the first evaluation is the best."""
    run = run_tiny(
        tmp_path / "runs",
        "training.greater_is_better=true",
        "training.early_stopping_patience=1",
        "training.load_best_model_at_end=true",
        "training.report_to=tensorboard",
        f"training.logging_dir={tmp_path / 'drawn'}",
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (early,) = [line for line in lines if line.get("event") == "early_stopping"]
    assert early["step"] == 8
    assert max(line["step"] for line in lines) == 8
    first = load_file(run / "checkpoints" / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(v, first[k]) for k, v in load_file(run / "model" / "model.safetensors").items())
    (notice,) = [line["text"] for line in lines if line.get("event") == "notice"]
    assert "the model is that of update 4" in notice
    assert list((tmp_path / "drawn" / run.name).glob("events.*"))
    assert json.loads((run / "run.json").read_text())["parts"][0]["outcome"] == "finished"
