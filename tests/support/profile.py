"""How thorough a run of the tests is: ``nox -s quick``, ``tests`` or ``nightly``."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

SLOW = (
    "blocks/encoder/test_stack.py",
    "blocks/functional/test_fla_forms.py",
    "blocks/hf/test_models.py",
    "blocks/mixers/test_bigbird_attn.py",
    "blocks/mixers/test_bounded_scores.py",
    "blocks/mixers/test_delta_rule.py",
    "blocks/mixers/test_linear_recurrence.py",
    "blocks/mixers/test_longformer_attn.py",
    "blocks/mixers/test_nsa_attn.py",
    "blocks/mixers/test_titan_attn.py",
    "blocks/mixers/test_ode.py",
    "blocks/test_conformance.py",
    "blocks/testing/",
    "optim/contract/",
    "optim/engine/",
    "optim/test_conformance.py",
    "optim/test_heavyball.py",
    "optim/test_quality.py",
    "optim/testing/",
    "packaging/test_example_plugin.py",
    "packaging/test_new_plugins.py",
    "packaging/test_plugin_guide.py",
    "packaging/test_start_up.py",
    "train/cli/test_presets_commands.py",
    "train/config/test_absurd.py",
    "train/data/es_commands/test_commands.py",
    "train/presets/",
    "train/run/",
    "train/testing/",
    "train/tokenizer/test_training.py",
    "train/trainer/checkpoints/",
    "train/trainer/families/",
)
"""Files and folders that ``nox -s quick`` leaves out.

They train whole runs, start interpreters, compile, try every registered name, or take many seconds
of a core for another reason.
"""
