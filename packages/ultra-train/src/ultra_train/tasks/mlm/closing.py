"""What a run of masked language modelling prints at its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ultra_train.config.preset import Preset
from ultra_train.tasks.mlm.documents import Documents
from ultra_train.tasks.mlm.guesses import sentence_with_a_blank


def accuracy_line(metrics: Mapping[str, float]) -> Iterator[str]:
    """Yield a line about the accuracy on held-out texts, if it was measured."""
    if "eval_accuracy" in metrics:
        accuracy, baseline = metrics["eval_accuracy"], metrics["eval_unigram_accuracy"]
        yield (
            f"Held-out texts: {accuracy:.1%} of the masked tokens are guessed right; always guessing the "
            f"commonest token gets {baseline:.1%} right{compared_with_baseline(accuracy, baseline)}."
        )


def compared_with_baseline(accuracy: float, baseline: float) -> str:
    """Return a phrase that compares the accuracy with that of the most frequent token."""
    if accuracy < baseline:
        return "; the model is worse than that, it has learned nothing of use yet"
    if accuracy < 1.1 * baseline or accuracy == 0:
        return "; the model is no better than that yet"
    return f", the model {accuracy / baseline:.1f} times as many" if baseline > 0 else ""


def fill_mask_command(
    run: Path, preset: Preset, documents: Documents, tokenizer: PreTrainedTokenizerBase
) -> str | None:
    """Return a command that fills a blank in a sentence of the run's own texts; None where there is none."""
    shards = documents.held_out if len(documents.held_out) else documents.train
    sentence = sentence_with_a_blank(shards, tokenizer)
    if sentence is None:
        return None
    remote = preset.tokenizer is not None and preset.tokenizer.trust_remote_code
    trust = ["--trust-remote-code"] if remote else []
    return shlex.join(["ultra-train", "fill-mask", *trust, str(run), sentence])
