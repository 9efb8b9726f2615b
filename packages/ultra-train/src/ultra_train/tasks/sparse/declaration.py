"""What the tasks of sparse encoders declare."""

from __future__ import annotations

from typing import ClassVar

from ultra_train.config.task_declaration import TaskDeclaration
from ultra_train.tasks.sparse.form import SparseForm


class Sparse(TaskDeclaration):
    """Sparse encoders, whose presets have sections of their own."""

    form: ClassVar[type[SparseForm]] = SparseForm
