"""The step of a task on labelled rows without data, for ``ultra-train estimate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_core.errors import UltraError
from ultra_train.config.preset import Preset
from ultra_train.data.labelled.checking import Problem
from ultra_train.hf.errors import describe_error
from ultra_train.hf.known_models import base_config
from ultra_train.hf.precision import DTYPES
from ultra_train.tasks.base import DryStep
from ultra_train.tasks.labelled.model import LONGEST, head_class, set_labels

TOKEN = 5
"""Any ordinary token."""


class LabelledDryStep(DryStep):
    """Rows of full length, each with a label or with one for each token.

    Labels that only the data have are taken for two.

    Args:
        preset: a loaded preset.
        options: its section of the task.
        problem: what a label is.
    """

    def __init__(self, preset: Preset, options: Any, problem: Problem) -> None:
        self.preset, self.options, self.problem = preset, options, problem
        self.labels = ("value",) if problem == "regression" else options.labels or ("no", "yes")

    def build_model(self) -> nn.Module:
        """Return the architecture of the base model with the head."""
        name, trust = self.preset.base_model or "", self.options.trust_remote_code
        config = base_config(name, trust_remote_code=trust)
        set_labels(config, self.problem, self.labels)
        try:
            model: nn.Module = head_class(self.problem).from_config(config, trust_remote_code=trust)
        except Exception as error:  # whatever the code of a foreign model raises
            raise UltraError(f"base_model {name!r} cannot be built: {describe_error(error)}") from error
        for parameter in model.parameters():
            parameter.data = parameter.data.to(DTYPES[self.preset.training.weights_dtype])
        return model

    def batch(self) -> dict[str, Tensor]:
        """Return ``batch_size`` rows of ``max_seq_length`` tokens."""
        rows, length = self.options.batch_size, self.max_length
        labels = {
            "single_label": torch.zeros(rows, dtype=torch.long),
            "multi_label": torch.zeros(rows, len(self.labels)),
            "regression": torch.zeros(rows),
            "tags": torch.zeros(rows, length, dtype=torch.long),
        }
        return {"input_ids": torch.full((rows, length), TOKEN), "labels": labels[self.problem]}

    @property
    def tokens(self) -> int:
        """Return the number of tokens in a micro-batch."""
        return int(self.options.batch_size) * self.max_length

    @property
    def max_length(self) -> int:
        """Return the length of its rows in tokens."""
        return self.options.max_seq_length or LONGEST

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of the model."""
        loss: Tensor = model(**batch).loss
        return loss
