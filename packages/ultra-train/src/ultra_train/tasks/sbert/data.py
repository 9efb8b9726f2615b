"""The data sets of the section ``training.sbert``."""

from __future__ import annotations

import numpy as np

from ultra_blocks.config import split_spec
from ultra_train.config.training import TrainingConfig
from ultra_train.data.pairs.reading import PairSource, chosen_rows, read_splits
from ultra_train.data.pairs.splitting import hold_out
from ultra_train.tasks.base import Say
from ultra_train.tasks.embeddings.data import PairSet
from ultra_train.tasks.embeddings.loss_names import DENSE_DEFAULTS, DENSE_LOSSES
from ultra_train.tasks.embeddings.scores import even_weights, standardized
from ultra_train.tasks.embeddings.steps import Steps
from ultra_train.tasks.sbert.options import SbertDataset, SbertOptions


def read_set(
    name: str, one: SbertDataset, options: SbertOptions, training: TrainingConfig, say: Say
) -> PairSet:
    """Return a data set with its columns checked, and its dev split; without one, a share of it is held out.

    Args:
        name: its name.
        one: the data set.
        options: the section, for what holds for all data sets.
        training: the keys of the run.
        say: prints what was left out or changed.

    Raises:
        DataError: it is not there, or its rows cannot be used.
    """
    share = training.eval_fraction
    source = PairSource(
        source=one.source,
        kind=one.dataset_type,
        columns=one.columns,
        name=one.dataset_config,
        seed=training.seed,
        score_range=one.score_range,
    )
    splits = read_splits(source, cache_dir=training.cache_dir, notify=lambda line: say(f"notice: {line}"))
    train = splits["train"]
    held_out = splits.get("dev") if share else None
    if share and held_out is None:
        train, held_out = hold_out(train, share, training.seed)
    loss, _ = split_spec(one.loss or options.loss or DENSE_DEFAULTS[one.dataset_type])
    steps = Steps(
        name=name,
        hard_negatives=one.hard_negatives or options.hard_negatives,
        teacher=one.teacher or options.teacher,
        cache_dir=training.cache_dir,
        seed=training.seed,
        trust_remote_code=options.trust_remote_code,
        say=say,
    )
    if held_out is not None:
        held_out = chosen_rows(held_out, options.max_eval_samples, training.seed)
        if steps.teacher is not None:  # its scores are in the loss; otherwise, evaluation stays as it is
            held_out = steps(held_out, loss)
    train = steps(chosen_rows(train, options.max_train_samples, training.seed), loss)
    weights = None
    if one.dataset_type == "paired_similarity":
        if options.resample_balanced:
            weights = even_weights(np.asarray(train["score"], np.float64), options.resample_std)
        if options.standardize_scores:
            train, held_out = standardized(train, held_out)
    return PairSet(
        name=name,
        kind=one.dataset_type,
        source=one.source,
        train=train,
        held_out=held_out,
        negatives_in_batch=DENSE_LOSSES[loss].negatives_in_batch,
        weights=weights,
    )
