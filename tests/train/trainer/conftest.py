"""A tiny BERT, a loader whose batches are pure functions of their position, and a trainer over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments

from ultra_train.system.processes import processes
from ultra_train.trainer.checkpoints.retention import RetentionPolicy
from ultra_train.trainer.guards import Guard
from ultra_train.trainer.mixin import UltraTrainerMixin
from ultra_train.trainer.rollbacks import Rollbacks
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.stream import EndlessBatches

VOCABULARY = 40
BATCHES = 5


@pytest.fixture(autouse=True)
def _no_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate collects garbage before every training: half a second with transformers loaded."""
    monkeypatch.setattr("gc.collect", lambda *args: 0)


class Loader:
    """Five micro-batches an epoch; ``poison`` makes some of them yield a non-finite loss."""

    def __init__(self) -> None:
        self.epoch, self.index = 0, 0
        self.poison: set[tuple[int, int]] = set()
        self.handed_out: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return BATCHES

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "index": self.index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.index = state["epoch"], state["index"]

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        torch.rand(1)  # a torch DataLoader draws a seed from the global generator
        while self.index < BATCHES:
            position = (self.epoch, self.index)
            generator = torch.Generator().manual_seed(1000 * self.epoch + self.index)
            length = 4 + self.index
            ids = torch.randint(5, VOCABULARY, (3, length), generator=generator)
            chosen = torch.rand(3, length, generator=generator) < 0.3
            chosen[:, 0] = True
            batch = {"input_ids": ids.masked_fill(chosen, 4), "labels": ids.masked_fill(~chosen, -100)}
            if position in self.poison:
                batch["poison"] = torch.tensor(float("nan"))
            self.index += 1
            self.handed_out.append(position)
            yield batch
        self.epoch, self.index = self.epoch + 1, 0


class TinyModel(BertForMaskedLM):
    """Divides by num_items_in_batch and multiplies its hidden states by ``poison``."""

    accepts_loss_kwargs = True

    def forward(self, input_ids, labels=None, poison=None, num_items_in_batch=None):
        hidden = self.bert(input_ids).last_hidden_state
        hidden = hidden if poison is None else hidden * poison
        scores = self.cls(hidden)
        total = torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum")
        return {"loss": total / num_items_in_batch, "logits": scores}


class TinyTrainer(UltraTrainerMixin, Trainer):
    """The mixin in front of transformers' Trainer."""


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., TinyTrainer]:
    """Build a trainer: AdamW with momentum in its state, a decaying schedule, dropout."""

    def make(
        folder: str | Path = "run",
        *,
        max_steps: int = 12,
        accumulation: int = 2,
        save_steps: int = 4,
        **options: Any,
    ) -> TinyTrainer:
        torch.manual_seed(0)
        run = tmp_path / folder
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
        guard = Guard(**{k: options.pop(k) for k in ("threshold", "patience", "scan_every") if k in options})
        arguments = TrainingArguments(
            output_dir=str(run / "checkpoints"),
            max_steps=max_steps,
            gradient_accumulation_steps=accumulation,
            save_steps=save_steps,
            logging_steps=1,
            max_grad_norm=options.pop("max_norm", 1.0),
            use_cpu=True,
            disable_tqdm=True,
            report_to=[],
            logging_nan_inf_filter=False,
            seed=0,
        )
        loader = options.pop("loader", None) or Loader()
        rollbacks = Rollbacks.read(run / "rollbacks.json")
        events: list[dict[str, Any]] = []
        settings = TrainerSettings(
            stream=EndlessBatches(loader, rollbacks.skipped, processes()),
            build_optimizer=options.pop(
                "build_optimizer", lambda modules: torch.optim.AdamW(modules[0].parameters(), lr=1e-2)
            ),
            schedule=lambda step: 1 / (1 + step),
            rollbacks=rollbacks,
            run_folder=run,
            guard=guard,
            retention=options.pop("retention", RetentionPolicy(newest=3)),
            sharded=options.pop("sharded", False),
            on_event=events.append,
            facts={"data": options.pop("data", "here")},
        )
        model = options.pop("model", None) or TinyModel(config)
        trainer_class = options.pop("trainer_class", TinyTrainer)
        trainer = trainer_class(model=model, args=arguments, settings=settings, **options)
        trainer.events, trainer.loader = events, loader
        return trainer

    return make


@pytest.fixture
def tiny_trainer() -> type[TinyTrainer]:
    """Return the class of the trainers, to give it another method."""
    return TinyTrainer


@pytest.fixture
def weights() -> Callable[[Any], dict[str, torch.Tensor]]:
    """Copy the weights of a trainer."""
    return lambda trainer: {k: v.clone() for k, v in trainer.model.state_dict().items()}
