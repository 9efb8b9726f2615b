"""A stranger's package beside our wheels, in an environment that knows nothing of this tree."""

import itertools
import json

import pytest

PRESET = """\
model_class: frankenstein
model:
  vocab_size: 360
  hidden_size: 32
  num_layers: 2
  num_heads: 2
  ffn_hidden_size: 64
  use_moe: false
  use_hope: false
  layer_pattern: [standard_attn, average_attn]
  norm_type: scale_norm
tokenizer:
  train: {vocab_size: 360}
training:
  task: mlm
  dataset: words.txt
  batch_size: 2
  max_length: 32
  max_steps: 4
  gradient_accumulation_steps: 1
  optimizer:
    optimizer_class: signum
    parameters: {signum-lr: 1.0e-3, signum-momentum: 0.95}
"""

ORDER = """\
model_class: frankenstein
model: {hidden_size: 32, num_layers: 2, num_heads: 2, ffn_hidden_size: 64, use_moe: false, use_hope: false}
tokenizer:
  train: {vocab_size: 300}
training:
  task: sentence_order
  dataset: stories.txt
  batch_size: 32
  max_steps: 100
  gradient_accumulation_steps: 1
  scheduler_type: constant
  eval_fraction: 0.1
  eval_every_n_steps: 20
  checkpoint_every_n_steps: 50
  swap_probability: 0.4
  optimizer: {optimizer_class: adamw, parameters: {adamw-lr: 1.0e-2}}
"""
"""Half of the sentences begin with *antes*, those that follow them with *luego*."""


@pytest.fixture(scope="module")
def environment(wheels):
    """The environment, with presets and texts."""
    folder = wheels.folder
    (folder / "preset.yaml").write_text(PRESET)
    syllables = ("ca", "sa", "lo", "me", "ti", "ra", "no", "pe", "lu", "do")
    words = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
    lines = (" ".join(words[(n * k) % 100] for k in (1, 3, 7, 9)) for n in range(400))
    (folder / "words.txt").write_text("\n".join(lines))
    (folder / "order.yaml").write_text(ORDER)
    stories = (
        f"antes {words[n % 100]} {words[7 * n % 100]}. luego {words[3 * n % 100]} {words[9 * n % 100]}."
        for n in range(400)
    )
    (folder / "stories.txt").write_text("\n".join(stories))
    return wheels


def test_its_names_are_listed_with_their_origin(environment):
    listing = environment.ultra_train("list")
    for name in ("average_attn", "scale_norm", "signum", "sentence_order"):
        line = next(line for line in listing.splitlines() if name in line.split())
        assert "ultra-example-plugin" in line
    assert "0 broken" in environment.ultra_train("list", "--check")


def test_it_passes_the_kit_that_ours_pass(environment):
    environment.run(
        "uv", "pip", "install", "-q", "-c", "constraints.txt", "pytest", "hypothesis", "safetensors"
    )
    for name in ("average_attn", "signum"):
        environment.ultra_train("plugin", "check", name)


def test_a_preset_uses_it_and_the_hook_runs(environment):
    printed = environment.ultra_train("run", "preset.yaml", "--name", "stranger")
    run = environment.folder / "runs" / "stranger"
    assert (run / "diary.txt").read_text() == "run stranger is over\n", printed
    assert (run / "model" / "model.safetensors").exists()
    code = (
        "import ultra_blocks.hf; from transformers import AutoModelForMaskedLM as A; "
        "m = A.from_pretrained('runs/stranger/model'); "
        "print(sorted({type(l).__name__ for l in m.modules() if 'Average' in type(l).__name__}))"
    )
    assert "AverageAttention" in environment.python(code)


def test_its_task_trains_with_a_key_a_rule_a_metric_and_a_curve_of_its_own(environment):
    printed = environment.ultra_train("run", "order.yaml", "--name", "order", "--device", "cpu")
    run = environment.folder / "runs" / "order"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [line["eval_order_accuracy"] for line in metrics if "eval_order_accuracy" in line]
    assert len(measured) == 5, printed
    assert measured[-1] > 0.9
    assert ">Accuracy of the order<" in (run / "report.html").read_text()
    assert "tags: [ultra, sentence-order]" in (run / "model" / "README.md").read_text()
    assert "swap_probability: 0.4" in (run / "config.yaml").read_text()
    assert (run / "model" / "model.safetensors").exists()
    more = environment.ultra_train(
        "run", "order.yaml", "--name", "order", "--resume", "--set", "training.max_steps=104"
    )
    assert "resuming after update 100" in more


def test_the_keys_of_its_task_are_checked_described_and_offered_to_editors(environment):
    def validate(preset, *overrides, code):
        sets = [part for override in overrides for part in ("--set", f"training.{override}")]
        return environment.ultra_train("validate", preset, *sets, code=code)

    (environment.folder / "typo.yaml").write_text(ORDER.replace("swap_probability", "swap_probabilty"))
    message = validate("typo.yaml", code=2)
    assert "typo.yaml:15:3: training.swap_probabilty: unknown key. Did you mean 'swap_probability'" in message
    message = validate("order.yaml", "max_length=50", code=2)
    assert "training.max_sentence_length: two sentences of 24 tokens need max_length 51" in message
    notices = validate("preset.yaml", "swap_probability=0.3", code=0)
    assert "no effect in this run: training.swap_probability" in notices
    assert "swap_probability: a number > 0 and < 1 [0.5]" in environment.ultra_train(
        "describe", "sentence_order"
    )
    assert "share of the pairs that are shown in the wrong order" in environment.ultra_train("schema")


def test_switched_off_it_is_an_unknown_name_and_its_checkpoint_says_what_is_missing(environment):
    off = {"ULTRA_DISABLE_PLUGINS": "ultra-example-plugin"}
    message = environment.ultra_train("validate", "preset.yaml", code=2, **off)
    assert "average_attn" in message
    assert "preset.yaml:" in message
    assert "Traceback" not in message
    loading = (
        "import ultra_blocks.hf; from transformers import AutoModel as A; "
        "A.from_pretrained('runs/stranger/model')"
    )
    message = environment.python(loading, code=1, **off)
    assert "ultra-example-plugin" in message
    assert "pip install" in message
