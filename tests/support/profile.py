"""How thorough a run of the tests is: ``nox -s quick``, ``tests`` or ``nightly``."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

SLOW = (
    "optim/engine/test_torch_backend.py",
    "packaging/test_example_plugin.py",
    "packaging/test_start_up.py",
    "train/config/test_absurd.py",
    "train/data/es_commands/test_commands.py",
    "train/presets/test_es_arch.py",
    "train/run/",
    "train/trainer/checkpoints/test_damaged_checkpoints.py",
    "train/trainer/families/",
)
"""Files and folders that train whole runs, start interpreters or compile; ``nox -s quick`` runs the rest."""
