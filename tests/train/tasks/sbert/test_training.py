"""Runs of sentence embeddings, from a preset to a model that sentence-transformers loads."""

import contextlib
import io
import json
import re
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from support.local_hub import local_hub
from support.tiny_sbert import write_sbert_preset, write_triplets
from ultra_core.errors import UltraError
from ultra_train.callbacks.progress import ProgressCallback
from ultra_train.config import load_preset
from ultra_train.run.execution import execute
from ultra_train.trainer.checkpoints.folders import list_checkpoints


@pytest.fixture(autouse=True)
def _no_full_collection(monkeypatch):
    """Accelerate collects garbage before every training: half a second with transformers loaded."""
    monkeypatch.setattr("gc.collect", lambda *args: 0)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Path of the preset."""
    return write_sbert_preset(tmp_path_factory.mktemp("sbert"))


@pytest.fixture(scope="module")
def runs(preset, tmp_path_factory):
    """A finished run, and what a process that was killed after its third update leaves of it."""
    folder = tmp_path_factory.mktemp("runs")
    killed = folder / "killed" / "tiny_sbert"

    def watch(callback, args, state, control, **kwargs):
        if state.global_step == 3 and not killed.exists():
            shutil.copytree(folder / "whole" / "tiny_sbert", killed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressCallback, "on_step_end", watch)
        whole = execute(load_preset(preset), output_dir=folder / "whole", device="cpu")
    return whole, killed


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_killed_run_that_is_resumed_is_as_one_that_never_was(runs, preset, tmp_path):
    whole, killed = runs
    (checkpoint,) = list_checkpoints(killed / "checkpoints")
    assert checkpoint.step == 2
    copy = tmp_path / "tiny_sbert"
    shutil.copytree(killed, copy)
    asked = load_preset(preset, ["training.sbert.resume_from_checkpoint=true"])
    assert execute(asked, output_dir=tmp_path, device="cpu") == copy
    expected, found = (load_file(run / "model" / "model.safetensors") for run in (whole, copy))
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    for one, other in zip(lines(whole), lines(copy), strict=True):
        numbers = {k: v for k, v in one.items() if k == "loss" or k.startswith("eval_")}
        assert {k: other.get(k) for k in numbers if not k.endswith(("_runtime", "second"))} == {
            k: v for k, v in numbers.items() if not k.endswith(("_runtime", "second"))
        }


def test_the_model_is_one_of_sentence_transformers(runs):
    whole, _ = runs
    model = SentenceTransformer(str(whole / "model"), device="cpu")
    assert model.max_seq_length == 12
    vectors = model.encode(["abre la puerta del garaje", "cierra la puerta del garaje"])
    assert vectors.shape == (2, 16)
    card = (whole / "model" / "README.md").read_text("utf-8")
    assert "library_name: sentence-transformers" in card
    assert "(paired_similarity, 64 rows)" in card
    assert "| spearman_cosine |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert "trust_remote_code=True" in code  # an encoder of this project does not load without it
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code.replace("PATH", str(whole / "model")), {})
    assert "tensor" in shown.getvalue()


def test_what_a_run_records(runs):
    whole, _ = runs
    found = lines(whole)
    first, last = [line for line in found if "eval_loss" in line]
    assert (first["step"], last["step"]) == (2, 4)
    assert {"eval_spearman_cosine", "eval_pearson_cosine"} <= last.keys()
    (data,) = [line for line in found if line.get("event") == "data"]
    assert data["sources"]["pairs"]["train"] == 64
    samples = [line["samples"] for line in found if line.get("event") == "samples"]
    assert [len(one) for one in samples] == [6, 6]
    rates = {line["step"]: line["lr_attention"] for line in found if "loss" in line}
    assert rates[1] == pytest.approx(5e-4)  # one update of warm-up, then a cosine over the whole run
    assert rates[2] == pytest.approx(1e-3)
    assert rates[4] < 3e-4
    assert "correlation of the similarity" in (whole / "report.html").read_text("utf-8")
    kept = yaml.safe_load((whole / "config.yaml").read_text("utf-8"))
    assert kept["training"]["max_steps"] is None


def test_several_data_sets_with_a_loss_each(preset, tmp_path):
    triplets = write_triplets(tmp_path)
    pairs = preset.parent / "pairs.jsonl"
    several = (
        f"training.sbert={{datasets: {{likeness: {{source: {pairs}}}, order: {{source: {triplets}, "
        "dataset_type: triplets, loss: {cached_multiple_negatives: {mini_batch_size: 4}}}}, "
        "sampling_strategy: round_robin, query_prefix: 'busca: ', batch_size: 8, matryoshka_dims: [16, 8], "
        "max_train_samples: 32}"
    )
    loaded = load_preset(preset, [several, "training.max_steps=3"])
    run = execute(loaded, output_dir=tmp_path, device="cpu")
    (last,) = [line for line in lines(run) if "eval_loss" in line]
    names = {"eval_likeness_loss", "eval_order_loss", "eval_likeness_spearman_cosine"}
    assert names | {"eval_order_cosine_accuracy", "eval_order_cosine_ndcg@10"} <= last.keys()
    model = SentenceTransformer(str(run / "model"), device="cpu")
    assert model.prompts["query"] == "busca: "


def test_negatives_are_mined_and_a_teacher_is_learnt_from(runs, preset, tmp_path, capsys):
    whole, _ = runs
    keys = (
        f"training.sbert={{dataset_name: {write_triplets(tmp_path)}, dataset_type: pairs, loss: distill_kl, "
        f"hard_negatives: {{model: {whole}, per_query: 2}}, teacher: {{model: {whole}, scale: 20}}, "
        "batch_size: 8, max_train_samples: 32, max_eval_samples: 24}"
    )
    loaded = load_preset(preset, [keys, "training.max_steps=2"])
    run = execute(loaded, output_dir=tmp_path, device="cpu")
    (last,) = [line for line in lines(run) if "eval_loss" in line]
    assert last["eval_loss"] < 1.0
    said = capsys.readouterr().out
    assert f"hard negatives of pairs are mined with {whole}" in said
    assert f"pairs is scored by {whole}" in said


def test_on_an_encoder_of_ones_own(finished_run, preset, tmp_path, capsys):
    own = [f"base_model={finished_run}", "training.max_steps=2", "training.sbert.pooling_mode=cls"]
    run = execute(load_preset(preset, own), output_dir=tmp_path, device="cpu")
    model = SentenceTransformer(str(run / "model"), device="cpu")
    assert model[1].pooling_mode == "cls"
    said = capsys.readouterr().out
    assert "Held-out pairs: the similarities correlate" in said
    assert f"Try it: ultra-train similarity --model {run} " in " ".join(said.split())
    assert model.encode(["abre la puerta"]).shape == (1, 16)


def test_a_loss_that_is_too_wide_and_a_checkpoint_that_is_not_there(preset, tmp_path):
    loaded = load_preset(preset, ["training.sbert.matryoshka_dims=[32]"])
    with pytest.raises(UltraError, match="32 is more than the 16 numbers"):
        execute(loaded, output_dir=tmp_path, device="cpu")
    with pytest.raises(UltraError, match="there is no checkpoint"):
        load_preset(preset, [f"training.sbert.resume_from_checkpoint={tmp_path}/x"], check_files=True)


@pytest.mark.parametrize(
    ("faults", "end"), [(["drop"], "pushed to {}/somebody/b"), ([401], "not pushed to a/b: ")]
)
def test_a_push_never_ends_a_run(runs, preset, tmp_path, monkeypatch, capsys, faults, end):
    """The model is written whatever the hub answers; a connection that is lost is tried again."""
    whole, _ = runs
    folder = shutil.copytree(whole, tmp_path / "tiny_sbert")
    pushing = ["training.push_to_hub=true", "training.hub_model_id=a/b", "training.hub_strategy=end"]
    with local_hub() as hub:
        for name, value in {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_a", "HF_HUB_OFFLINE": "0"}.items():
            monkeypatch.setenv(name, value)
        hub.faults = list(faults)
        execute(load_preset(preset, pushing), output_dir=tmp_path, device="cpu", resume=True)
        said = capsys.readouterr().out.splitlines()[-1]
        assert said.startswith(end.format(hub.address))
        if faults == ["drop"]:
            assert {"README.md", "modules.json", "1_Pooling/config.json", "model.safetensors"} <= set(
                hub.files
            )
            assert b"sentence-transformers" in hub.files["README.md"]
    assert (folder / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()
