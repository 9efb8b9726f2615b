"""What the tasks of sparse encoders declare; importing it imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ultra_core.errors import UltraError
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import Faults
from ultra_train.config.training import TrainingConfig
from ultra_train.system.processes import processes
from ultra_train.tasks.base import CardText, Curve, Say, Task
from ultra_train.tasks.sparse.devices import devices
from ultra_train.tasks.sparse.form import SparseForm
from ultra_train.tasks.sparse.lowering import lowered
from ultra_train.tasks.sparse.preset import SparseFile

if TYPE_CHECKING:
    import torch

    from ultra_train.tasks.sparse.run import SparseRun

USAGE = """```python
from sentence_transformers import SparseEncoder

model = SparseEncoder("PATH", trust_remote_code=True)
queries = model.encode_query(["..."])
documents = model.encode_document(["...", "..."])
scores = model.similarity(queries, documents)
```

An encoder of this project needs `trust_remote_code` and
`pip install "ultra-blocks[transformers]"`; other models need neither."""

SPARSITY = (
    Curve(
        "Active dimensions of a text",
        (
            "query_active_dims",
            "document_active_dims",
            "eval_query_active_dims",
            "eval_document_active_dims",
        ),
    ),
    Curve("Products in the score of a query and a document", ("flops", "eval_flops")),
)
"""Charts that all tasks of sparse encoders have."""

RETRIEVAL = Curve("Retrieval", ("eval_dot_ndcg@10", "eval_dot_mrr@10", "eval_NanoBEIR_mean_dot_ndcg@10"))


def sparse_card(summary: str, *tags: str) -> CardText:
    """Return the text of the model card of a sparse encoder."""
    return CardText(
        library="sentence-transformers",
        tags=("sentence-transformers", "sparse-encoder", "sparse", *tags),
        pipeline_tag="feature-extraction",
        summary=summary,
        usage=USAGE,
    )


class SparseTask(Task):
    """A task that trains sparse encoders from presets with ``model.architecture``."""

    form: ClassVar[type[SparseForm]] = SparseForm
    reads_dataset: ClassVar[bool] = False
    progress_metrics: ClassVar[Mapping[str, tuple[str, str]]] = {
        "eval_spearman_dot": ("Spearman", ".3f"),
        "eval_dot_accuracy": ("triplets right", ".1%"),
        "eval_dot_ndcg@10": ("nDCG@10", ".3f"),
    }
    headline_metrics: ClassVar[tuple[str, ...]] = (
        "eval_dot_ndcg@10",
        "eval_query_active_dims",
        "eval_document_active_dims",
    )

    def given_options(self, preset: Any) -> SparseFile | None:
        """Return the sections of a sparse preset; None for a preset of another form."""
        return preset if isinstance(preset, SparseFile) else None

    def training_keys(self, preset: Any) -> TrainingConfig:
        """Return the keys of every run that mean the same; see ``Task.training_keys``."""
        return lowered(preset)

    def run_folder(self, preset: SparseFile) -> str | None:
        """Return ``training.output_dir``."""
        return preset.training.output_dir

    def device(self, preset: SparseFile) -> str | None:
        """Return ``hardware.device``, if this machine has it."""
        wanted = preset.hardware.device
        return wanted if wanted in devices() else None

    def rules(self, options: Any, preset: PresetFile) -> Faults:
        """Yield a fault for a preset of another form."""
        yield (
            ("training", "task"),
            f"{self.name} trains from presets with model.architecture, which name no training.task; see "
            "ultra-train show training_config_splade",
        )

    def start(self, preset: Any, folder: Path, *, device: torch.device, say: Say = print) -> SparseRun:
        """Return a run; see ``Task.start``.

        Raises:
            UltraError: the preset says on how many devices it trains, and the run has other processes.
        """
        wanted, here = preset.hardware, processes().count
        if wanted.distributed and wanted.world_size != here:
            raise UltraError(
                f"hardware.world_size is {wanted.world_size}, and the run has {here} "
                f"process{'es' if here > 1 else ''}; start it with torchrun --nproc-per-node "
                f"{wanted.world_size} -m ultra_train run ..., or set hardware.distributed: false"
            )
        return self.run_class()(self, preset, folder, device=device, say=say)

    @abstractmethod
    def run_class(self) -> type[SparseRun]:
        """Import and return the class of its runs."""
