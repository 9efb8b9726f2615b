"""Keys of other tools and keys in the wrong place: the error names the key that was meant and its place."""

import pytest

from ultra_optim.roles.preset_keys import parse_parameters
from ultra_train.config.declared_tasks import declared_tasks
from ultra_train.config.suggestions import COMMAND_LINE, flat_synonyms, key_places
from ultra_train.config.synonyms import PARAMETERS, flattened

CASES = [
    ("learning_rate", f"{PARAMETERS}.adamw-lr"),
    ("training.learning_rate", f"{PARAMETERS}.adamw-lr"),
    ("training.learningRate", f"{PARAMETERS}.adamw-lr"),
    ("training.lr", f"{PARAMETERS}.adamw-lr"),
    ("training.weight_decay", f"{PARAMETERS}.adamw-weight_decay"),
    ("training.optimizer.lr", f"{PARAMETERS}.adamw-lr"),
    ("training.adamw-lr", f"{PARAMETERS}.adamw-lr"),
    ("adamw-learning_rate", f"{PARAMETERS}.adamw-lr"),
    ("training.muon-learning_rate_norms", f"{PARAMETERS}.muon-lr_norms"),
    ("training.optimizer_class", "training.optimizer.optimizer_class"),
    ("optim", "training.optimizer.optimizer_class"),
    ("per_device_train_batch_size", "training.batch_size"),
    ("training.per-device-train-batch-size", "training.batch_size"),
    ("batch_size", "training.batch_size"),
    ("model.batch_size", "training.batch_size"),
    ("training.hidden_size", "model.hidden_size"),
    ("training.vocab_size", "model.vocab_size"),
    ("model.num_hidden_layers", "model.num_layers"),
    ("model.hidden_act", "model.ffn_activation"),
    ("train_file", "training.dataset"),
    ("training.datasets", "training.dataset"),
    ("fp16", "training.precision"),
    ("training.bf16", "training.precision"),
    ("save_steps", "training.checkpoint_every_n_steps"),
    ("training.warmup_steps", "training.scheduler_warmup_ratio"),
    ("training.warmup_ratio", "training.scheduler_warmup_ratio"),
    ("model_name_or_path", "base_model"),
    ("model.base_model", "base_model"),
    ("training.base_model", "base_model"),
    ("tokenizer_name", "tokenizer.name_or_path"),
    ("name_or_path", "tokenizer.name_or_path"),
    ("training.output_dir", "training.hf_output_dir"),
    ("output_dir", "training.hf_output_dir"),
    ("num_train_epochs", "training.num_epochs"),
    ("logging_steps", "training.telemetry_log_interval"),
    ("seed", "training.seed"),
    ("model.max_length", "training.max_length"),
    ("training.layer_pattern", "model.layer_pattern"),
    ("training.sbert={dataset_name: x, num_epochs: 3}", "training.sbert.epochs"),
    ("training.sbert={dataset_name: x, lr: 3}", "training.sbert.learning_rate"),
    ("training.gradient_checkpointing", "training.activation_checkpointing"),
    ("training.cutoff_len", "training.max_length"),
    ("micro_batch_size", "training.batch_size"),
]


@pytest.mark.parametrize(("key", "meant"), CASES, ids=[key for key, _ in CASES])
def test_the_key_and_its_place(problems, minimal, key, meant):
    (fault,) = problems(minimal, key if "=" in key else f"{key}=1")
    assert f"did you mean {meant}" in fault.message


def test_a_key_that_is_close_is_suggested_as_ever(problems, minimal):
    (fault,) = problems(minimal, "training.batch_sise=1")
    assert fault.message.startswith("unknown key. Did you mean 'batch_size'")


def test_the_optimizer_of_the_file(problems, base):
    (fault,) = problems(base, "training.learning_rate=1")
    assert fault.message == f"unknown key; did you mean {PARAMETERS}.lion-lr?"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("learning_rate", "did you mean 'adamw-lr'?"),
        ("adamw-learning_rate", "Did you mean 'adamw-lr'?"),
        ("adamw-learning_rate_norms", "Did you mean 'adamw-lr_norms'?"),
        ("batch_size", "did you mean training.batch_size?"),
        ("num_train_epochs", "did you mean training.num_epochs?"),
    ],
)
def test_among_the_parameters(problems, minimal, key, message):
    (fault,) = problems(minimal, f"{PARAMETERS}.{key}=1")
    assert message in fault.message


@pytest.mark.parametrize(
    ("key", "option"),
    [("resume_from_checkpoint", "--resume"), ("device", "--device")],
)
def test_what_the_command_line_sets(problems, minimal, key, option):
    (fault,) = problems(minimal, f"training.{key}=x")
    assert f"the option {option} of ultra-train run?" in fault.message


@pytest.fixture(scope="module")
def places():
    """Where every key of a preset may stand."""
    return [place for found in key_places(declared_tasks().preset_class).values() for place in found]


def test_every_target_is_a_key(places):
    for target in flat_synonyms(declared_tasks()).values():
        if target.startswith(f"{PARAMETERS}."):
            key = target.removeprefix(f"{PARAMETERS}.")
            value = [0.9, 0.99] if "betas" in key else 0.1
            assert parse_parameters("adamw", {key: value}).faults == []
        else:
            assert tuple(target.split(".")) in places


def test_no_synonym_is_a_key_at_the_place_of_its_target(places):
    for name, target in flat_synonyms(declared_tasks()).items():
        section = tuple(target.split(".")[:-1])
        assert name not in {flattened(place[-1]) for place in places if place[:-1] == section}


def test_options_of_the_command_line_exist():
    from ultra_train.cli.run import run

    assert set(COMMAND_LINE.values()) <= {option for parameter in run.params for option in parameter.opts}


@pytest.mark.parametrize("section", [(), ("model",), ("training",)])
def test_every_key_at_a_wrong_level_is_answered(problems, minimal, places, section):
    wrong = sorted({place[-1] for place in places} - {p[-1] for p in places if p[:-1] == section})
    found = {
        f.path: f.message for f in problems(minimal, *(f"{'.'.join((*section, key))}=1" for key in wrong))
    }
    assert len(wrong) > 50
    for key in wrong:
        assert found[(*section, key)].startswith("unknown key; did you mean ")
