"""What the task ``mlm`` declares; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ultra_blocks.config import UltraConfig
from ultra_blocks.config.validation import type_faults
from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.tasks.base import CardText, Curve, Say, Task
from ultra_train.tasks.mlm.options import MLMOptions

if TYPE_CHECKING:
    import torch

    from ultra_train.tasks.mlm.dry_step import MLMDryStep
    from ultra_train.tasks.mlm.training import MLMRun

USAGE = """```python
from transformers import pipeline

fill = pipeline("fill-mask", model="PATH", trust_remote_code=True)
```

It needs `pip install "ultra-blocks[transformers]"`. As an encoder of sentences:
`SentenceTransformer("PATH", trust_remote_code=True)` takes the mean of the token states; it was
not trained for similarity."""


class MLM(Task):
    """Predicts masked tokens from both sides; the data is text.

    Tokens are masked anew in every epoch; evaluation masks the same tokens every time and shows ``[MASK]`` at
    each of them, so that its accuracy is that of guessing.
    """

    options: ClassVar[type] = MLMOptions
    default: ClassVar[bool] = True
    commands: ClassVar[Mapping[str, str]] = {"fill-mask": "ultra_train.tasks.mlm.command:fill_mask"}
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("Accuracy on held-out masked tokens", ("eval_accuracy", "eval_unigram_accuracy")),
    )
    headline_metrics: ClassVar[tuple[str, ...]] = ("eval_accuracy",)
    card: ClassVar[CardText] = CardText(
        tags=("fill-mask",), pipeline_tag="fill-mask", summary="A masked language model.", usage=USAGE
    )
    synonyms: ClassVar[dict[str, str]] = {
        "training.mlm_probability": "mlm_prob masking_probability mask_probability mask_prob mlm_ratio",
        "training.mask_policy": "whole_word_mask whole_word_masking wwm masking_strategy",
        "training.batching": "packing sample_packing group_by_length pack_sequences",
    }

    def rules(self, options: MLMOptions, preset: PresetFile) -> Faults:
        """Yield faults of the masking, of rows that a block refuses, and of the tokenizer of a base model."""
        mask_rate, random_rate = options.mask_policy.mask_rate, options.mask_policy.random_rate
        if mask_rate + random_rate > 1 + 1e-9:
            message = f"mask_rate ({mask_rate:g}) and random_rate ({random_rate:g}) exceed 1 together"
            yield (*self.path, "mask_policy"), message
        yield from self._cutting(options)
        if preset.model is not None:
            yield from self._limits(options, preset.model)
        tokenizer, base = preset.tokenizer, preset.base_model
        if base is not None and tokenizer is not None and tokenizer.train is not None:
            yield (
                ("tokenizer", "train"),
                "a base model keeps the tokenizer that it was trained with; "
                "set tokenizer.name_or_path instead of tokenizer.train",
            )
        elif base is not None and (tokenizer is None or tokenizer.name_or_path is None):
            yield (
                ("tokenizer", "name_or_path"),
                f"{self.name} with base_model needs tokenizer.name_or_path, for example {base!r}",
            )

    def _cutting(self, options: MLMOptions) -> Faults:
        joined, longest = options.join_temp_data_context_window, options.max_length
        if joined and not 3 <= joined <= longest:
            yield (
                (*self.path, "join_temp_data_context_window"),
                f"a joined document has from 3 to max_length ({longest}) tokens; set max_length to {joined} "
                "too for longer ones, or leave out the key to join none",
            )
        if joined and options.overlap_tokens:
            yield (
                (*self.path, "overlap_tokens"),
                "joined texts have nothing in common; leave out overlap_tokens or "
                "join_temp_data_context_window",
            )
        elif options.overlap_tokens > longest - 3:
            yield (
                (*self.path, "overlap_tokens"),
                f"{options.overlap_tokens} leaves no room for new tokens in a document of max_length "
                f"({longest}); set it to a fraction of that",
            )

    def _limits(self, options: MLMOptions, model: UltraConfig) -> Faults:
        if any(type_faults(model)):
            return
        from ultra_blocks.encoder.limits import Limits  # imports torch

        limits = Limits.of(model)
        if options.batching == "packed" and limits.unpacked is not None:
            layer, name = limits.unpacked
            yield (
                (*self.path, "batching"),
                f"packed puts several documents into a row, which the block {name} of layer {layer} does not "
                "keep apart (its traits say packing=False); use length",
            )
        if limits.short is not None and options.max_length > (limits.longest or 0):
            layer, name = limits.short
            yield (
                (*self.path, "max_length"),
                f"max_length is {options.max_length}, but the block {name} of layer {layer} accepts "
                f"{limits.longest} tokens at most",
            )

    def start(self, preset: Preset, folder: Path, *, device: torch.device, say: Say = print) -> MLMRun:
        """Return a run; see ``Task.start``."""
        from ultra_train.tasks.mlm.training import MLMRun

        return MLMRun(self, preset, folder, device=device, say=say)

    def dry_step(self, preset: Preset, *, device_type: str) -> MLMDryStep:
        """Return the step without data; see ``Task.dry_step``."""
        from ultra_train.tasks.mlm.dry_step import MLMDryStep

        return MLMDryStep(preset, self.given_options(preset), device_type=device_type)
