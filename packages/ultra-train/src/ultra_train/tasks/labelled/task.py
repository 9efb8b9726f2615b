"""The declaration that classification and token classification inherit from; it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ultra_core.errors import did_you_mean
from ultra_train.config.local_files import unreadable_pairs
from ultra_train.config.preset import Preset, PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.data.errors import DataError
from ultra_train.data.labelled.checking import Problem, kind_of_rows
from ultra_train.data.pairs.columns import ColumnFinder
from ultra_train.tasks.fine_tuning.task import FINE_TUNING_TWIN, FineTuningTask

if TYPE_CHECKING:
    from ultra_train.tasks.labelled.dry_step import LabelledDryStep

TWIN: Mapping[str, Any] = {
    **FINE_TUNING_TWIN,
    "dataset_name": "ultra:es-commands",
    "dataset_config": None,
    "columns": {},
    "labels": None,
}


class LabelledTask(FineTuningTask):
    """Fine-tunes a base model with a head on labelled rows."""

    twin_options: ClassVar[Mapping[str, Any]] = TWIN

    def problem(self, options: Any) -> Problem:
        """Return what a label is."""
        return "tags"

    def rules(self, options: Any, preset: PresetFile) -> Faults:
        """Yield what a preset lacks, and what in its labels and columns does not fit together."""
        yield from super().rules(options, preset)
        if options is None:
            return
        if options.dataset_name is None:
            yield self.path, "no data: set dataset_name"
        try:
            ColumnFinder(kind_of_rows(self.problem(options), options.columns), options.columns)
        except DataError as error:
            yield (*self.path, "columns"), str(error)
        labels = options.labels
        if labels is not None and len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            yield (*self.path, "labels"), f"names {twice!r} twice"
        if labels is not None and isinstance(options.class_weights, dict):
            for name in options.class_weights:
                if name not in labels:
                    yield (
                        (*self.path, "class_weights", name),
                        f"labels has no {name!r}.{did_you_mean(name, labels)}",
                    )

    def missing(self, options: Any) -> Faults:
        """Yield a fault for rows that are not on this machine, or cannot be read."""
        if options.dataset_name is not None:
            yield from unreadable_pairs((*self.path, "dataset_name"), options.dataset_name)
        yield from super().missing(options)

    def dry_step(self, preset: Preset, *, device_type: str) -> LabelledDryStep:
        """Return the step without data; see ``Task.dry_step``."""
        from ultra_train.tasks.labelled.dry_step import LabelledDryStep

        options = self.given_options(preset)
        return LabelledDryStep(preset, options, self.problem(options))
