"""How thorough a run of the tests is: ``nox -s quick``, ``tests`` or ``nightly``."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

SLOW = (
    "blocks/hf/test_models.py",
    "blocks/mixers/test_bigbird_attn.py",
    "blocks/mixers/test_longformer_attn.py",
    "blocks/mixers/test_nsa_attn.py",
    "blocks/mixers/test_titan_attn.py",
    "blocks/test_conformance.py",
    "optim/contract/",
    "optim/engine/test_c_backend.py",
    "optim/engine/test_c_codegen.py",
    "optim/engine/test_torch_backend.py",
    "optim/test_conformance.py",
    "packaging/test_example_plugin.py",
    "packaging/test_start_up.py",
    "train/cli/test_presets_commands.py",
    "train/config/test_absurd.py",
    "train/data/es_commands/test_commands.py",
    "train/presets/",
    "train/run/",
    "train/tokenizer/test_training.py",
    "train/trainer/checkpoints/test_damaged_checkpoints.py",
    "train/trainer/families/",
)
"""Files and folders that ``nox -s quick`` leaves out.

They train whole runs, start interpreters, compile, try every registered name, or take more than ten
seconds of a core for another reason.
"""
