"""Every rule between keys: the contradiction is found, and blamed on the right key."""

import re

import pytest

RULES = [
    (["base_model=x/y", "tokenizer.name_or_path=x/y"], "base_model", "excludes model_class and model"),
    (["model_class=frankenstine"], "model_class", "Did you mean 'frankenstein'"),
    (["model_class="], "model", "needs a model_class beside it"),
    (["tokenizer.train.vocab_size=900"], "model.vocab_size", "make them equal"),
    (["tokenizer.train.vocab_size=200"], "model.vocab_size", "make them equal"),
    (["training.task=mln"], "training.task", "Did you mean 'mlm'"),
    (["training.scheduler_type=cosin"], "training.scheduler_type", "Did you mean 'cosine'"),
    (["training.optimizer="], "training.optimizer", "mlm needs training.optimizer"),
    (["training.lr_other=1e-3"], "training.lr_other", "use one of the two"),
    (["training.use_galore=true"], "training.use_galore", "use one of the two"),
    (["training.optimizer.optimizer_class=adam"], "training.optimizer.optimizer_class", "'adamw'"),
    (["training.optimizer.parameters.adamw-lrr=1"], "training.optimizer.parameters.adamw-lrr", "'adamw-lr'"),
    (["training.optimizer.parameters.lion-lr=1"], "training.optimizer.parameters.lion-lr", "adamw-"),
    (["training.optimizer.parameters.adamw-lr=-1"], "training.optimizer.parameters.adamw-lr", ">= 0"),
    (
        ["training.optimizer.parameters.adamw-lr_mambo=1"],
        "training.optimizer.parameters.adamw-lr_mambo",
        "'mamba'",
    ),
    (
        ["training.optimizer.parameters.adamw-betas=[0.9]"],
        "training.optimizer.parameters.adamw-betas",
        "2 values",
    ),
    (["training.use_amp=true", "training.precision=fp32"], "training.precision", "remove one"),
    (["training.gpu_temp_resume_threshold_c=90"], "training.gpu_temp_resume_threshold_c", "must be below"),
    (
        ["training.gpu_temp_critical_threshold_c=85"],
        "training.gpu_temp_critical_threshold_c",
        "must be above",
    ),
    (["training.hub_model_id=a/b/c"], "training.hub_model_id", "cannot name a repository"),
    (["training.hub_model_id=-a"], "training.hub_model_id", "cannot name a repository"),
    (["training.eval_fraction=1"], "training.eval_fraction", "below 1"),
    (["training.eval_fraction=1.5"], "training.eval_fraction", "<= 1"),
    (["training.dataset=[]"], "training.dataset", "is empty"),
    (["training.dataset=''"], "training.dataset", "is empty"),
    (["training.dataset=[a.txt, '']"], "training.dataset[1]", "is empty"),
    (["training.dataset=ultra:es-comands"], "training.dataset", "Did you mean 'ultra:es-commands'"),
    (["training.dataset=[a.txt, ultra:de-commands]"], "training.dataset[1]", "no embedded data set"),
    (["training.max_length=2"], "training.max_length", ">= 3"),
    (["model.vocab_size=200"], "model.vocab_size", "at least 262"),
    (["tokenizer.train.vocab_size=200"], "tokenizer.train.vocab_size", "at least 262"),
    (["model.num_heads=5"], "model.num_heads", "not a multiple"),
    (["model.top_k_experts=9", "model.use_moe=true"], "model.top_k_experts", "more experts than there are"),
    (["model.layer_pattern=[standard_atn]"], "model.layer_pattern[0]", "Did you mean 'standard_attn'"),
    (["model.layer_pattern=[{retnet: {chunk: 4}}]"], "model.layer_pattern[0].retnet.chunk", "has no option"),
    (["model.positions=learned", "training.max_length=1024"], "training.max_length", "learns 512 positions"),
    (["model.positions={learned: {max_positions: 8}}"], "training.max_length", "learns 8 positions"),
]


@pytest.mark.parametrize("code", ["{learned: {max_positions: 1024}}", "sinusoidal"])
def test_texts_may_be_as_long_as_the_position_code_goes(minimal, problems, code):
    assert problems(minimal, f"model.positions={code}", "training.max_length=1024") == []


@pytest.mark.parametrize(("overrides", "key", "message"), RULES, ids=[key for _, key, _ in RULES])
def test_contradictions(minimal, problems, overrides, key, message):
    found = {fault.key: fault.message for fault in problems(minimal, *overrides)}
    assert key in found
    assert message in found[key]


def test_minimal_is_valid(minimal, base, problems):
    assert problems(minimal) == []
    assert problems(base) == []


def test_neither_model_nor_base_model(problems):
    (fault,) = problems("training:\n  lr_other: 1e-4\n")
    assert "needs model_class with model" in fault.message


def test_an_optimizer_with_averaged_weights_wants_a_constant_schedule(minimal, problems, monkeypatch):
    import attrs

    from ultra_optim.lion import Lion

    monkeypatch.setattr(Lion, "traits", attrs.evolve(Lion.traits, own_schedule=True))
    lion = ["training.optimizer={optimizer_class: lion, parameters: {lion-lr: 1e-4}}"]
    (fault,) = problems(minimal, *lion)
    assert fault.key == "training.scheduler_type"
    assert problems(minimal, *lion, "training.scheduler_type=constant") == []


def test_a_rounded_up_vocabulary_fits(minimal, problems):
    assert problems(minimal, "tokenizer.train.vocab_size=500") == []


def test_flat_keys_are_blamed_themselves(minimal, problems):
    (fault,) = problems(minimal, "training.optimizer=", "training.betas_norms=[0.9, 1.5]")
    assert fault.key.startswith("training.betas_norms")
    galore = ("training.optimizer=", "training.use_galore=true")
    assert problems(minimal, *galore) == []
    (fault,) = problems(minimal, *galore, "training.galore_scale=-1.0")
    assert fault.key == "training.galore_scale"


def test_all_faults_come_together_with_their_places(problems, minimal):
    text = minimal.replace("num_heads: 4", "num_heads: 5")
    text = text.replace("hidden_size: 64", "hidden_sise: 64").replace("use_moe: false", "use_moe: 1")
    text = text.replace("task: mlm", "task: mln").replace("adamw-lr: 1e-3", "adamw-lrr: 1e-3")
    found = problems(text)
    assert [(fault.line, fault.key) for fault in found] == [
        (4, "model.hidden_sise"),
        (9, "model.use_moe"),
        (11, "training.task"),
        (16, "training.optimizer.parameters.adamw-lrr"),
    ]
    assert all(fault.column > 1 for fault in found)
    assert re.fullmatch(r".*preset.yaml:4:3: model.hidden_sise: unknown key. Did you mean .*", str(found[0]))


def test_a_fault_hides_what_would_go_away_with_it(problems, minimal):
    keys = [
        fault.key for fault in problems(minimal.replace("optimizer_class: adamw", "optimiser_class: adamw"))
    ]
    assert set(keys) == {"training.optimizer.optimiser_class", "training.optimizer.optimizer_class"}


def test_a_missing_section_does_not_stop_the_rest(problems):
    keys = [fault.key for fault in problems("model_class: frankenstine\nmodel: {num_heads: x}\n")]
    assert "training" in keys
    assert "model.num_heads" in keys
