"""What fits together among the keys of ``training.sbert``."""

from __future__ import annotations

from collections.abc import Iterator

from ultra_blocks.config import split_spec
from ultra_train.config.task_declaration import Faults
from ultra_train.data.pairs.kinds import KINDS
from ultra_train.tasks.embeddings.loss_names import DENSE_DEFAULTS, loss_faults
from ultra_train.tasks.embeddings.steps import step_faults
from ultra_train.tasks.sbert.options import SbertDataset, SbertOptions

OF_SCORES = ("resample_balanced", "standardize_scores")
WITH_QUERIES = ("pairs", "triplets", "qa")
"""The kinds of data whose first column is a query and whose others are documents."""


def option_faults(options: SbertOptions, path: tuple[str, ...]) -> Faults:
    """Yield every (key path, message) at which the section contradicts itself."""
    if options.dataset_name is None and not options.datasets:
        yield path, "no data: set dataset_name, or name several data sets in datasets"
    if options.dataset_name is not None and options.datasets:
        yield (*path, "datasets"), "dataset_name and datasets exclude each other; keep one of them"
    for name, one in options.sets.items():
        place = path if options.dataset_name is not None else (*path, "datasets", name)
        yield from _set_faults(one, options, place)
    dims = options.matryoshka_dims
    if len(set(dims)) < len(dims):
        yield (*path, "matryoshka_dims"), "names a width twice"
    kinds = {one.dataset_type for one in options.sets.values()}
    for key in OF_SCORES:
        if getattr(options, key) and kinds and "paired_similarity" not in kinds:
            yield (
                (*path, key),
                f"only paired_similarity has scores, and the data are {', '.join(sorted(kinds))}",
            )


def _set_faults(one: SbertDataset, options: SbertOptions, place: tuple[str, ...]) -> Faults:
    spec = one.loss if one.loss is not None else options.loss
    faults = [] if spec is None else list(loss_faults(spec, one.dataset_type, (*place, "loss")))
    yield from faults
    if not faults:
        loss, _ = split_spec(spec or DENSE_DEFAULTS[one.dataset_type])
        mined, teacher = one.hard_negatives or options.hard_negatives, one.teacher or options.teacher
        yield from step_faults(one.dataset_type, loss, mined, teacher, place)
    kind = KINDS[one.dataset_type]
    known = {*kind.texts, *([kind.target] if kind.target else [])}
    for column in one.columns:
        if column not in known and not (kind.negatives is not None and column.startswith("negative")):
            yield (
                (*place, "columns", column),
                f"{one.dataset_type} has no column {column!r}; it has {', '.join(kind.columns)}",
            )
    if one.score_range is not None and one.score_range[0] >= one.score_range[1]:
        yield (*place, "score_range"), "write the lowest score first, then the highest"


def idle_options(options: SbertOptions) -> Iterator[str]:
    """Yield the names of options without effect."""
    kinds = {one.dataset_type for one in options.sets.values()}
    if not kinds & set(WITH_QUERIES):
        yield from (name for name in ("query_prefix", "document_prefix") if getattr(options, name))
    if not options.resample_balanced and options.resample_std != 0.3:
        yield "resample_std"
    if len(options.sets) < 2 and options.sampling_strategy != "proportional":
        yield "sampling_strategy"
