"""Names that other tools have for the keys of ``training.sbert``."""

from __future__ import annotations

from ultra_train.tasks.fine_tuning.task import synonyms_in

SYNONYMS: dict[str, str] = {
    **synonyms_in("sbert"),
    "training.sbert.pooling_mode": "pooling pooling_strategy",
    "training.sbert.dataset_name": "dataset train_dataset train_file dataset_path",
}
