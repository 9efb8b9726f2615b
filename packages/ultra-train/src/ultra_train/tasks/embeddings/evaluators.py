"""What measures an encoder at every evaluation: sentence-transformers' evaluators by kinds of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Evaluator = Callable[[Any], Mapping[str, float]]
"""Measures a model and returns its metrics by name."""
