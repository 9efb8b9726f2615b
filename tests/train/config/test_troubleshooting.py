"""What the notes on troubleshooting of the Spanish presets warn of: each is an error that says what to do."""

import pytest

from ultra_core.config import ConfigError
from ultra_train.config import load_any

BETO, SIGMOID = "es_mlm_beto_adamw", "es_arch_sigmoid_derf_muon"
TOO_COOL = ("training.gpu_temp_pause_threshold_c=70", "training.gpu_temp_resume_threshold_c=80")

FAULTS = {
    "mlm with base_model needs tokenizer.name_or_path, for example 'dccuchile/": (BETO, "tokenizer=null"),
    "mlm needs training.optimizer: {optimizer_class, parameters}": (BETO, "training.optimizer=null"),
    "keys start with the name of the optimizer, 'lion-'; write 'lion-lr_norms'": (
        BETO,
        "training.optimizer.optimizer_class=lion",
    ),
    "the task sbert needs the section training.sbert": (BETO, "training.task=sbert"),
    "the task sbert needs base_model, a hub id or path": (
        SIGMOID,
        "training.task=sbert",
        "training.sbert={dataset_name: owner/pairs}",
    ),
    "trainig: unknown key. Did you mean 'training'?": (BETO, "trainig=1"),
    "tokenizer.nam: unknown key. The keys here: name_or_path": (BETO, "tokenizer.nam=x"),
    "training.batchsize: unknown key; did you mean training.batch_size?": (BETO, "training.batchsize=4"),
    "gpu_temp_resume_threshold_c (80) must be below gpu_temp_pause_threshold_c (70)": (BETO, *TOO_COOL),
    "gpu_temp_critical_threshold_c (85) must be above the pause threshold (90)": (
        BETO,
        "training.gpu_temp_critical_threshold_c=85",
    ),
    "schedulefree_adamw replaces a schedule and warms up inside; set scheduler_type: constant": (
        "es_mlm_mbert_schedulefree_adamw",
        "training.scheduler_type=cosine",
    ),
}


@pytest.mark.parametrize("said", FAULTS)
def test_it_is_said_with_its_place_and_what_to_do(said):
    name, *overrides = FAULTS[said]
    with pytest.raises(ConfigError) as caught:
        load_any(name, overrides)
    (line,) = [line for line in str(caught.value).splitlines() if said in line]
    assert line.startswith("--set ") or f"{name}.yaml:" in line


def test_a_preset_without_its_tokenizer_ends_with_exit_code_2(ultra):
    result = ultra("run", BETO, "--set", "tokenizer=null")
    assert result.exit_code == 2
    assert "mlm with base_model needs tokenizer.name_or_path" in result.stderr
    assert "Traceback" not in result.output
