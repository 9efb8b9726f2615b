"""The keys of the task sbert, and the rules between them."""

import json

import jsonschema
import pytest

from support.notices import notice
from ultra_core.config import parse_source
from ultra_train.config.declared_tasks import declared_tasks
from ultra_train.config.schema import preset_schema
from ultra_train.config.suggestions import key_places
from ultra_train.config.synonyms import by_synonym, flattened
from ultra_train.tasks.sbert.synonyms import SYNONYMS


def idle(preset):
    start = "no effect in this run: "
    return [k for line in preset.notices if line.startswith(start) for k in line[len(start) :].split(", ")]


SBERT = """\
base_model: some/encoder
training:
  task: sbert
  optimizer: {optimizer_class: adamw, parameters: {adamw-lr: 1e-4}}
  sbert:
    dataset_name: some/pairs
    dataset_type: TRIPLETS
    resume_from_checkpoint: true
    wandb_project: mine
    optimizer:
      optimizer_class: muon
      parameters: {muon-lr: 1e-3, momentum: 0.95, nesterov: true, ns_steps: 5}
"""


def test_sbert(accepted, later_tasks):
    preset = accepted(SBERT, "training.report_to=[wandb]")
    sbert = preset.training.sbert
    assert sbert.resume_from_checkpoint is True
    assert sbert.dataset_type == "triplets"
    assert sbert.optimizer.parameters == {
        "muon-lr": 1e-3,
        "muon-momentum": 0.95,
        "muon-nesterov": True,
        "muon-ns_steps": 5,
    }
    assert "momentum is muon-momentum" in notice(preset, "other names")


def test_sbert_keys_without_effect(accepted, later_tasks):
    other = SBERT.replace("muon", "lion")
    line = notice(accepted(other), "no effect in this run")
    for key in ("training.sbert.wandb_project", "parameters.momentum", "parameters.ns_steps"):
        assert key in line


def test_the_only_fault_of_a_task_that_is_not_there_is_that(problems):
    (fault,) = problems(SBERT, "training.task=later")
    assert fault.message.startswith("unknown task")
    assert "\n" not in fault.message
    assert len(problems(SBERT, "training.task=later", "training.sbert.epoch=1")) == 2


SHORT = """\
base_model: some/encoder
training:
  task: sbert
  sbert: {dataset_name: some/pairs, learning_rate: 1e-5}
"""


@pytest.mark.parametrize(
    ("override", "fits"),
    [
        ("pooling_mode=Mean", True),
        ("dataset_type=paired-similarity", True),
        ("dataset_type=DatasetType.QA", True),
        ("pooling_mode=x y.mean", False),
        ("pooling_mode=means", False),
    ],
)
def test_choices_of_sbert_are_as_the_schema_says(load, problems, later_tasks, override, fits):
    override = f"training.sbert.{override}"
    tree = parse_source(SHORT, [override]).tree
    del tree["training"]["task"]
    errors = list(jsonschema.Draft202012Validator(preset_schema()).iter_errors(tree))
    assert (errors == []) == (problems(SHORT, override) == []) == fits


def section(name, **keys):
    return f"training.sbert.optimizer={json.dumps({'optimizer_class': name, 'parameters': keys})}"


def test_the_optimizer_of_sbert_is_checked_like_the_other(load, problems, later_tasks):
    assert "training.sbert.learning_rate" in idle(load(SHORT, section("adamw", lr=1e-4)))
    assert idle(load(SHORT, section("adamw", weight_decay=0.1))) == []
    (fault,) = problems(SHORT, section("schedulefree_adamw", lr=1e-3))
    assert fault.key == "training.scheduler_type"
    (line,) = [n for n in load(SHORT, section("prodigy", lr=1.0, lr_norms=0.5)).notices if "multipliers" in n]
    assert "prodigy-lr_*" in line


def test_what_the_optimizer_of_sbert_refuses_is_found(problems, later_tasks):
    (fault,) = problems(SHORT, section("adan", decay_rule="cautious"))
    assert fault.key == "training.sbert.optimizer.parameters"
    assert "set no_prox=True" in fault.message


def test_sbert_needs_its_section_and_a_base_model(minimal, base, problems, later_tasks):
    keys = [fault.key for fault in problems(minimal, "training.task=sbert")]
    assert keys == ["training.sbert", "base_model"] or keys == ["base_model", "training.sbert"]
    section = (
        "training.sbert={dataset_name: x/y, optimizer: {optimizer_class: lion, parameters: {lion-lt: 1}}}"
    )
    (fault,) = problems(base, "training.task=sbert", section)
    assert fault.key == "training.sbert.optimizer.parameters.lion-lt"
    assert problems(base, "training.task=sbert", "training.sbert={dataset_name: x/y}") == []


def test_keys_of_the_task_sbert_at_the_level_above(problems, base, later_tasks):
    text = base.replace("training:\n", "training:\n  task: sbert\n  sbert: {dataset_name: x}\n")
    for key, meant in (("learning_rate", "learning_rate"), ("num_train_epochs", "epochs")):
        (fault,) = problems(text, f"training.{key}=1")
        assert f"did you mean training.sbert.{meant}?" in fault.message


def test_every_target_is_a_key_and_no_synonym_is_one_there():
    known = {path for places in key_places(declared_tasks().preset_class).values() for path in places}
    for name, target in by_synonym(SYNONYMS).items():
        *section, _ = path = tuple(target.split("."))
        assert path in known
        assert name not in {flattened(place[-1]) for place in known if place[:-1] == tuple(section)}


@pytest.mark.parametrize(
    ("sbert", "key", "words"),
    [
        ("{}", "training.sbert", "no data"),
        ("{dataset_name: a/b, datasets: {x: {source: c/d}}}", "datasets", "exclude each other"),
        ("{dataset_name: a/b, loss: triplet}", "loss", "is for triplets, not for paired_similarity"),
        ("{datasets: {x: {source: c/d, loss: softmax}}}", "datasets.x.loss", "is for nli"),
        ("{dataset_name: a/b, columns: {anchor: q}}", "columns.anchor", "no column 'anchor'"),
        ("{dataset_name: a/b, score_range: [5, 0]}", "score_range", "lowest score first"),
        ("{dataset_name: a/b, dataset_type: qa, resample_balanced: true}", "resample_balanced", "qa"),
        ("{dataset_name: a/b, matryoshka_dims: [8, 8]}", "matryoshka_dims", "twice"),
    ],
)
def test_contradictions(problems, sbert, key, words):
    (fault,) = problems(SHORT, f"training.sbert={sbert}")
    assert fault.key.removeprefix("training.sbert.") == key
    assert words in fault.message


def test_keys_of_training_that_the_section_replaces(load):
    preset = load(SHORT, "training.batch_size=8", "training.sbert.query_prefix='q: '")
    assert {"training.batch_size", "training.sbert.query_prefix"} <= set(idle(preset))
    assert idle(load(SHORT)) == []


def test_several_data_sets_in_canonical_form(accepted):
    text = SHORT.replace(
        "{dataset_name: some/pairs, learning_rate: 1e-5}",
        "{datasets: {one: {source: a/b, dataset_type: QA}, two: {source: c/d, loss: {cosent: {scale: 10}}}}, "
        "sampling_strategy: ROUND_ROBIN}",
    )
    sets = accepted(text).training.sbert.sets
    assert (sets["one"].dataset_type, sets["two"].loss) == ("qa", {"cosent": {"scale": 10}})
