from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import DebertaV2Config, DebertaV2ForMaskedLM, PreTrainedTokenizerFast

from ultra_core.errors import UltraError
from ultra_train.tasks.mlm.fill_mask import FillMaskError, fill_mask, locate


def test_a_run_its_model_and_its_name_give_the_same_guesses(finished_run):
    texts = ["abre la [MASK] del [MASK]"]
    by_run = fill_mask(finished_run, texts, top_k=3)
    assert by_run == fill_mask(finished_run / "model", texts, top_k=3)
    assert by_run == fill_mask(finished_run.name, texts, top_k=3, runs=finished_run.parent)
    (blanks,) = by_run
    assert [len(guesses) for guesses in blanks] == [3, 3]
    for guesses in blanks:
        chances = [g.probability for g in guesses]
        assert chances == sorted(chances, reverse=True)
        assert all(0 < c < 1 for c in chances)
        assert all(g.token and not g.token.startswith("[") for g in guesses)


def test_texts_of_different_length_do_not_influence_each_other(finished_run):
    alone = fill_mask(finished_run, ["abre la [MASK]"])
    together = fill_mask(finished_run, ["apaga la [MASK] del salón", "abre la [MASK]"])
    assert together[1] == alone[0]


def test_more_guesses_than_tokens(finished_run):
    (((*guesses,),),) = fill_mask(finished_run, ["abre la [MASK]"], top_k=10_000)
    assert sum(g.probability for g in guesses) == pytest.approx(1, abs=1e-4)
    assert all(g.probability > 0 and g.token.isprintable() for g in guesses)
    assert not {"[PAD]", "[CLS]", "[MASK]"} & {g.token for g in guesses}


def test_a_blank_may_be_written_either_way(finished_run):
    expected = fill_mask(finished_run, ["abre la [MASK] del [MASK]"])
    assert fill_mask(finished_run, ["abre la <mask> del [MASK]"]) == expected


def test_faults_are_clear(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FillMaskError, match=r"there is no \[MASK\]"):
        fill_mask(finished_run, ["abre la puerta"])
    with pytest.raises(FillMaskError, match="longer than the 24"):
        fill_mask(finished_run, ["abre la puerta del salón " * 9 + "[MASK]"])
    with pytest.raises(FillMaskError, match="neither a folder nor a run"):
        fill_mask("nothing", ["[MASK]"], runs=tmp_path)
    (tmp_path / "runs" / "there" / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "runs" / "begun" / "checkpoints").mkdir(parents=True)
    for name in ("runs/ther", str(tmp_path / "runs" / "ther"), "runs/there/modle"):
        with pytest.raises(FillMaskError, match=r"neither a folder nor a run.*Runs there: there\."):
            fill_mask(name, ["[MASK]"], runs=tmp_path / "runs" if name.startswith("/") else Path("runs"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FillMaskError, match="neither a model nor a checkpoint"):
        fill_mask(tmp_path / "empty", ["[MASK]"])


def test_an_owner_and_a_name_are_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name", Path("runs")) == "owner/name"


def test_a_hub_that_cannot_be_reached_is_not_asked_again_and_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        UltraError, match=r"cannot be reached .* no copy of owner/name; give the path of a local"
    ):
        fill_mask("owner/name", ["[MASK]"])


def test_a_run_that_has_not_finished_answers_from_its_newest_checkpoint(finished_run, tmp_path):
    unfinished = tmp_path / "run"
    shutil.copytree(finished_run, unfinished)
    shutil.rmtree(unfinished / "model")
    assert fill_mask(unfinished, ["abre la [MASK]"]) == fill_mask(finished_run, ["abre la [MASK]"])


def test_a_model_file_that_is_cut_short(finished_run, tmp_path):
    shutil.copytree(finished_run / "model", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(FillMaskError, match="no masked language model can be loaded"):
        fill_mask(tmp_path / "model", ["abre la [MASK]"])


@pytest.fixture
def changed(finished_run, tmp_path):
    """Copy the finished model with another config."""

    def change(**values):
        shutil.copytree(finished_run / "model", tmp_path / "model")
        config = tmp_path / "model" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | values))
        return tmp_path / "model"

    return change


def test_a_model_that_returns_tuples(finished_run, changed):
    texts = ["abre la [MASK]"]
    assert fill_mask(changed(return_dict=False), texts) == fill_mask(finished_run, texts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vocab_size": 7}, r"\w[\w.]+ is \d+( x \d+)? in its files, but 7( x \d+)? by"),
        ({"hidden_size": "abc"}, r"\w+"),
    ],
)
def test_a_config_that_cannot_be(changed, change, reason):
    with pytest.raises(FillMaskError, match=f"no masked language model can be loaded: {reason}"):
        fill_mask(changed(**change), ["abre la [MASK]"])


def test_a_model_whose_predictions_are_no_numbers(finished_run, tmp_path):
    shutil.copytree(finished_run / "model", tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    broken = {name: torch.full_like(value, float("nan")) for name, value in weights.items()}
    save_file(broken, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FillMaskError, match="predictions are not finite"):
        fill_mask(tmp_path / "model", ["abre la [MASK]"])


def test_a_text_as_long_as_the_run_was_trained_on(tmp_path):
    """The model was made for 8 tokens and trained on rows of 20; it has no table of positions."""
    words = WordLevel({f"w{i}": i for i in range(24)}, unk_token="w2")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="w0", mask_token="w4", model_max_length=20
    )
    tokenizer.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = DebertaV2Config(
        vocab_size=24,
        max_position_embeddings=8,
        position_biased_input=False,
        relative_attention=True,
        **sizes,
    )
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    ((guesses,),) = fill_mask(tmp_path, ["w7 " * 19 + "[MASK]"])
    assert len(guesses) == 5
    with pytest.raises(FillMaskError, match="longer than the 20"):
        fill_mask(tmp_path, ["w7 " * 20 + "[MASK]"])
