"""The steps that a preset asks for on the rows of a data set: ``hard_negatives``, then ``teacher``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ultra_core.errors import listed
from ultra_train.config.keys import Count, Natural, NonNegative, Positive, key
from ultra_train.config.local_files import missing_model
from ultra_train.config.task_declaration import Faults
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.identity import text_columns
from ultra_train.embeddings.kinds import locate

if TYPE_CHECKING:
    from datasets import Dataset

MINED = ("pairs", "qa")
"""The kinds of rows that negatives are mined for."""
DISTILLED = ("margin_mse", "distill_kl")
"""The losses that learn from a teacher's scores; those of sparse encoders begin with ``sparse_``."""
_RESCORED = ("paired_similarity",)
"""The kinds of rows whose scores a teacher replaces."""


@attrs.frozen(kw_only=True)
class HardNegativesKeys:
    """``hard_negatives`` of a data set."""

    model: str = key(help="the dense encoder that finds them: a run, a folder or a hub id")
    per_query: Count = key(1, "negatives of a row")
    range_min: Natural = key(0, "nearest texts that are passed over, since they may be answers")
    range_max: Count | None = key(None, "rank of the farthest text that may be a negative")
    margin: NonNegative | None = key(None, "least distance of its similarity below that of the answer")
    relative_margin: NonNegative | None = key(None, "the same as a share of the answer's similarity")
    max_score: float | None = key(None, "greatest similarity of a negative")
    sampling: Literal["top", "random"] = key("top", "take the nearest ones, or any in the range")
    batch_size: Count = key(32, "texts that are encoded at a time")


@attrs.frozen(kw_only=True)
class TeacherKeys:
    """``teacher`` of a data set."""

    model: str = key(help="the model whose scores are learnt: a run, a folder or a hub id")
    kind: Literal["cross", "bi"] | None = key(
        None, "cross-encoder, or encoder of single texts; what the model's files say when left out"
    )
    batch_size: Count = key(32, "texts, or pairs of them, that are scored at a time")
    scale: Positive = key(1.0, "factor of the scores; about 20 for cosines")


@attrs.frozen(kw_only=True)
class Steps:
    """The steps on the rows of one data set.

    Attributes:
        name: the data set, for error messages.
        hard_negatives: how negatives are mined, or None.
        teacher: who scores the rows, or None.
        cache_dir: folder of the caches.
        seed: seed of the choice of negatives.
        trust_remote_code: run code that comes with a model.
        say: prints what is done, and rows that are left out.
    """

    name: str
    hard_negatives: HardNegativesKeys | None
    teacher: TeacherKeys | None
    cache_dir: str
    seed: int
    trust_remote_code: bool
    say: Callable[[str], None]

    def __call__(self, rows: Dataset, loss: str) -> Dataset:
        """Return rows of the data set after the steps.

        Args:
            rows: the rows.
            loss: name of the loss that learns from them.

        Raises:
            DataError: the rows have negatives already, or none for a loss that compares documents.
            EncoderError: a model is missing, or of another kind.
        """
        if self.hard_negatives is not None:
            rows = self._mined(rows, self.hard_negatives)
        if self.teacher is not None:
            if distils(loss) and len(text_columns(rows)) < 3:
                raise DataError(
                    f"{self.name}: the loss {loss} compares the documents of a row, but its columns are "
                    f"{listed(rows.column_names)}; mine negatives with hard_negatives."
                )
            rows = self._scored(rows, self.teacher)
        return rows

    def _mined(self, rows: Dataset, keys: HardNegativesKeys) -> Dataset:
        from ultra_train.data.pairs.steps.hard_negatives import HardNegatives, mine
        from ultra_train.embeddings.loading import load_encoder

        options = HardNegatives(**{**attrs.asdict(keys), "model": locate(keys.model)}, seed=self.seed)

        def load() -> Any:
            self.say(f"hard negatives of {self.name} are mined with {keys.model}")
            return load_encoder(keys.model, trust_remote_code=self.trust_remote_code)

        return mine(rows, options, load, cache_dir=self.cache_dir, notify=self._notice)

    def _scored(self, rows: Dataset, keys: TeacherKeys) -> Dataset:
        from ultra_train.data.pairs.steps.teacher import Teacher, add_scores
        from ultra_train.embeddings.loading import find, load_encoder, loading

        kind = keys.kind or ("cross" if find(keys.model)[1] == "cross-encoder" else "bi")
        options = {**attrs.asdict(keys), "model": locate(keys.model), "kind": kind}

        def load() -> Any:
            self.say(f"{self.name} is scored by {keys.model}")
            if kind == "bi":
                return load_encoder(keys.model, trust_remote_code=self.trust_remote_code)
            from sentence_transformers import CrossEncoder

            with loading(keys.model):
                return CrossEncoder(locate(keys.model), trust_remote_code=self.trust_remote_code)

        return add_scores(rows, Teacher(**options), load, cache_dir=self.cache_dir, notify=self._notice)

    def _notice(self, line: str) -> None:
        self.say(f"notice: {self.name}: {line}")


def distils(loss: str) -> bool:
    """Return whether a loss learns from a teacher's scores of all documents of a row."""
    return loss.removeprefix("sparse_") in DISTILLED


def step_faults(
    kind: str,
    loss: str,
    hard_negatives: HardNegativesKeys | None,
    teacher: TeacherKeys | None,
    path: tuple[str, ...],
) -> Faults:
    """Yield (key path, message) of what does not fit together among the steps of a data set.

    Args:
        kind: the kind of its rows.
        loss: name of its loss.
        hard_negatives: how negatives are mined, or None.
        teacher: who scores the rows, or None.
        path: path of its section.
    """
    if hard_negatives is not None:
        place = (*path, "hard_negatives")
        if kind not in MINED:
            yield place, f"negatives are mined for {listed(MINED)}, not for {kind}"
        last = hard_negatives.range_max
        if last is not None and last - hard_negatives.range_min < hard_negatives.per_query:
            yield (
                (*place, "range_max"),
                f"there are fewer than per_query ({hard_negatives.per_query}) texts from range_min "
                f"({hard_negatives.range_min}) to range_max ({last})",
            )
    if teacher is not None and not distils(loss) and kind not in _RESCORED:
        family = "sparse_" if loss.startswith("sparse_") else ""
        reading = listed([f"{family}{name}" for name in DISTILLED])
        yield (*path, "teacher"), f"the loss {loss} reads no scores; those that do are {reading}"
    if teacher is None and distils(loss):
        yield (
            (*path, "teacher"),
            f"the loss {loss} learns from the scores of a teacher; name one with teacher",
        )


def missing_step_models(
    hard_negatives: HardNegativesKeys | None, teacher: TeacherKeys | None, path: tuple[str, ...]
) -> Faults:
    """Yield (key path, message) of models of steps that are not on this machine; the hub is not asked."""
    for name, keys in (("hard_negatives", hard_negatives), ("teacher", teacher)):
        if keys is not None:
            yield from missing_model((*path, name, "model"), keys.model)
