"""A tiny SentenceTransformer, rows for it, and the trainer over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from support.tiny_sbert import tiny_encoder, write_base
from ultra_train.data.batches.loader import BatchLoader
from ultra_train.tasks.embeddings.batches import PairCollator
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.trainers import DenseTrainer
from ultra_train.trainer.rollbacks import Rollbacks
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.stream import EndlessBatches


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny BERT with its tokenizer."""
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def encoder(tiny_base: Path) -> Callable[[], Any]:
    """Build the tiny encoder in fp64 without dropout, the same weights every time."""
    return lambda: tiny_encoder(tiny_base, dropout=0.0).double()


@pytest.fixture
def make_dense_trainer(tmp_path: Path) -> Callable[..., DenseTrainer]:
    """Build a trainer over data sets: ``make_dense_trainer(model, {"a": rows}, loss)``."""

    def make(
        model: Any,
        rows: dict[str, Dataset],
        loss: Any,
        *,
        folder: str = "run",
        steps: int = 4,
        **options: Any,
    ) -> DenseTrainer:
        sets = [PairSet(name=name, kind="pairs", source=name, train=one) for name, one in rows.items()]
        data = PairData(sets=sets, batch_size=4, eval_batch_size=4, seed=0)
        collate = DenseTrainer.data_collator_class(preprocess_fn=model.preprocess)
        loader = BatchLoader(data.training_plan(), PairCollator(rows, collate, named=len(rows) > 1))
        run = tmp_path / folder
        settings = TrainerSettings(
            stream=EndlessBatches(loader),
            build_optimizer=lambda modules: torch.optim.AdamW(
                dict.fromkeys(p for module in modules for p in module.parameters()), lr=1e-3, weight_decay=0.0
            ),
            schedule=lambda step: 1.0,
            rollbacks=Rollbacks.read(run / "rollbacks.json"),
            run_folder=run,
            facts={"data": data.fingerprint},
        )
        arguments = DenseTrainer.training_args_class(
            output_dir=str(run / "checkpoints"),
            max_steps=steps,
            gradient_accumulation_steps=2,
            save_steps=2,
            logging_steps=options.pop("logging_steps", 1),
            max_grad_norm=1.0,
            use_cpu=True,
            disable_tqdm=True,
            report_to=[],
        )
        return DenseTrainer(model=model, args=arguments, settings=settings, loss=loss, **options)

    return make
