"""What the task ``sbert`` declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ultra_train.config.integrations import reports_to
from ultra_train.config.local_files import unreadable_texts
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import Faults, OwnOptimizer, TaskDeclaration
from ultra_train.tasks.sbert.options import SbertOptions
from ultra_train.tasks.sbert.synonyms import SYNONYMS


class Sbert(TaskDeclaration):
    """Sentence embeddings with sentence-transformers."""

    options: ClassVar[type] = SbertOptions
    section: ClassVar[str] = "sbert"
    reads_dataset: ClassVar[bool] = False
    own_optimizer: ClassVar[OwnOptimizer] = OwnOptimizer(key="optimizer", learning_rate="learning_rate")
    synonyms: ClassVar[dict[str, str]] = SYNONYMS

    def rules(self, options: SbertOptions | None, preset: PresetFile) -> Faults:
        """Yield what a preset that trains sentence embeddings lacks."""
        if options is None:
            yield self.path, f"the task {self.name} needs the section {'.'.join(self.path)}"
        if preset.base_model is None:
            yield ("base_model",), f"the task {self.name} needs base_model, a hub id or path"

    def missing(self, options: SbertOptions) -> Faults:
        """Yield a fault for pairs that are not on this machine, or cannot be read."""
        yield from unreadable_texts((*self.path, "dataset_name"), options.dataset_name)

    def idle_keys(self, options: SbertOptions, preset: PresetFile) -> Iterator[str]:
        """Yield the project of an integration that ``report_to`` does not name."""
        if options.wandb_project and not reports_to("wandb", preset.training.report_to):
            yield ".".join((*self.path, "wandb_project"))
