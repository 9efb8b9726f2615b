"""The model of a finished run."""

from __future__ import annotations

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
