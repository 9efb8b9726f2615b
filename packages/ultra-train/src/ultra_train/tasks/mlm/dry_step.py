"""The step of masked language modelling without data, for ``ultra-train estimate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from ultra_blocks.encoder.mlm_head import IGNORED, mlm_loss
from ultra_core.errors import UltraError
from ultra_train.config.preset import Preset
from ultra_train.hf.errors import describe_error
from ultra_train.hf.known_models import base_config
from ultra_train.hf.precision import DTYPES
from ultra_train.hf.probe import logits_of
from ultra_train.tasks.base import DryStep
from ultra_train.tasks.mlm.batching import pick_batching
from ultra_train.tasks.mlm.options import MLMOptions

TOKEN = 5
"""Any ordinary token."""


class MLMDryStep(DryStep):
    """Rows of full length, of which every 1 / ``mlm_probability``-th token is predicted.

    Documents that are shorter than ``max_length`` come in more rows, so that a micro-batch has as many
    tokens.

    Args:
        preset: a loaded preset.
        options: its options of the task.
        device_type: where it would train, which decides whether documents are packed.
    """

    def __init__(self, preset: Preset, options: MLMOptions, *, device_type: str) -> None:
        self.preset, self.options = preset, options
        self.packed = pick_batching(preset, options, device_type) == "packed"

    def build_model(self) -> nn.Module:
        """Return a new encoder, or the architecture of the base model."""
        model = self._built()
        for parameter in model.parameters():
            parameter.data = parameter.data.to(DTYPES[self.preset.training.weights_dtype])
        return model

    def _built(self) -> nn.Module:
        from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig

        if self.preset.model is not None:
            return UltraForMaskedLM(UltraHFConfig.from_ultra(self.preset.model, pad_token_id=0))
        name = self.preset.base_model or ""
        tokenizer = self.preset.tokenizer
        trust = tokenizer is not None and tokenizer.trust_remote_code
        config = base_config(name, trust_remote_code=trust)
        try:
            built: nn.Module = AutoModelForMaskedLM.from_config(config, trust_remote_code=trust)
        except Exception as error:  # whatever the code of a foreign model raises
            raise UltraError(f"base_model {name!r} cannot be built: {describe_error(error)}") from error
        return built

    def batch(self) -> dict[str, Tensor]:
        """Return ``batch_size`` rows of ``max_length`` tokens; packed ones hold two documents each."""
        rows, length = self.preset.training.batch_size, self.options.max_length
        ids = torch.full((rows, length), TOKEN)
        labels = torch.full((rows * length,), IGNORED)
        labels[: max(1, round(self.options.mlm_probability * rows * length))] = TOKEN
        batch = {"input_ids": ids, "labels": labels.view(rows, length)}
        if self.packed:
            documents = (torch.arange(length) >= length // 2).long()
            batch["document_ids"] = documents.expand(rows, length).contiguous()
        return batch

    @property
    def tokens(self) -> int:
        """Return the number of tokens in a micro-batch."""
        return self.preset.training.batch_size * self.options.max_length

    @property
    def max_length(self) -> int:
        """Return the length of its rows in tokens."""
        return self.options.max_length

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross entropy at the masked positions.

        The head of a base model is assumed to run at these positions only, as it does wherever that is exact.
        """
        run: Any = model
        if self.preset.model is not None:
            loss: Tensor = run(**batch, num_items_in_batch=None).loss
            return loss
        labels = batch["labels"].flatten()
        index = (labels != IGNORED).nonzero().squeeze(1)

        def gather(_: nn.Module, __: Any, output: Any) -> Any:
            hidden = output[0].flatten(0, 1).index_select(0, index).unsqueeze(0)
            if isinstance(output, tuple):
                return (hidden, *output[1:])
            output[next(iter(output))] = hidden
            return output

        base = getattr(run, "base_model", run)
        hook = base.register_forward_hook(gather) if base is not run else None
        try:
            logits = logits_of(run(input_ids=batch["input_ids"])).flatten(0, -2)
        finally:
            if hook is not None:
                hook.remove()
        return mlm_loss(logits, labels.index_select(0, index))
