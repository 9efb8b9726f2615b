"""Names of the files and folders in the folder of a run."""

from __future__ import annotations

from ultra_train.system.owned_files import OWNERSHIP_FILE

RUNS = "runs"
"""Folder of runs."""

CHECKPOINTS = "checkpoints"
CONFIG = "config.yaml"
FACTS = "run.json"
METRICS = "metrics.jsonl"
MODEL = "model"
TOKENIZER = "tokenizer"
LOCK = ".lock"
ROLLBACKS = "rollbacks.json"
REPORT = "report.html"
TABLE = "metrics.csv"
TENSORBOARD = "tensorboard"

__all__ = [
    "CHECKPOINTS",
    "CONFIG",
    "FACTS",
    "LOCK",
    "METRICS",
    "MODEL",
    "OWNERSHIP_FILE",
    "REPORT",
    "ROLLBACKS",
    "RUNS",
    "TABLE",
    "TENSORBOARD",
    "TOKENIZER",
]
