"""The base model of a run with a head for its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, set_seed

from ultra_core.errors import UltraError
from ultra_train.config.preset import Preset
from ultra_train.data.labelled.checking import Problem
from ultra_train.embeddings.loading import checked_length, find
from ultra_train.embeddings.unpadding import unpad_inputs
from ultra_train.hf.precision import DTYPES
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.tasks.base import Say
from ultra_train.tasks.base_model import load_base
from ultra_train.tokenizer.loading import load_tokenizer

LONGEST = 512
"""Tokens of a text where neither the preset nor the model says how many."""

PROBLEM_TYPES: dict[Problem, Any] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
    "tags": None,
}
"""How transformers calls what a label is."""


def head_class(problem: Problem) -> Any:
    """Return the Auto class of models with a head for such labels."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    return AutoModelForTokenClassification if problem == "tags" else AutoModelForSequenceClassification


def set_labels(
    config: PretrainedConfig, problem: Problem, labels: Sequence[str], pooling: str | None = None
) -> None:
    """Write the labels, what they are, and the pooling into a config."""
    names = list(labels) or ["LABEL_0"]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    config.problem_type = PROBLEM_TYPES[problem]
    if pooling is not None:
        if not hasattr(config, "classifier_pooling"):
            raise UltraError(
                f"{config.model_type} models have a pooling of their own, which cannot be chosen; leave out "
                "training.classification.pooling"
            )
        config.classifier_pooling = pooling


def labelled_model(
    preset: Preset, options: Any, problem: Problem, labels: Sequence[str], key: str, say: Say
) -> tuple[PreTrainedModel, Any, int]:
    """Return the base model of a preset with a head, its tokenizer, and the tokens of a text at most.

    Encoders of this project compute batches without their padding. What the files lack, such as the head,
    starts at random from the seed.

    Args:
        preset: the preset.
        options: the section of the task.
        problem: what a label is.
        labels: the labels.
        key: path of the section, for messages.
        say: prints what did not fit.

    Raises:
        UltraError: the model or its tokenizer cannot be loaded, or cannot read texts as long as asked for.
    """
    assert preset.base_model is not None
    name, _ = find(preset.base_model, key="base_model")
    trust = options.trust_remote_code
    tokenizer: Any = load_tokenizer(name, trust_remote_code=trust)
    if problem == "tags" and not tokenizer.is_fast:
        raise UltraError(
            f"the tokenizer of {preset.base_model} does not say which word a token is of; token "
            "classification needs one with a tokenizer.json"
        )
    set_seed(preset.training.seed)
    pooling = getattr(options, "pooling", None)
    base = load_base(
        name,
        dtype=DTYPES[preset.training.weights_dtype],
        tokens=num_token_ids(tokenizer),
        trust_remote_code=trust,
        head=head_class(problem),
        prepare=lambda config: set_labels(config, problem, labels, pooling),
    )
    length = options.max_seq_length
    if length is None:
        length = min(checked_length(base.model, None, name, None) or LONGEST, LONGEST)
    for line in base.check(tokenizer, length, f"{key}.max_seq_length"):
        say(f"notice: base_model {preset.base_model} {line}")
    unpad_inputs(base.model)
    return base.model, tokenizer, length
