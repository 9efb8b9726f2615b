"""Tiny models of every family of masked-LM base models that people continue, and texts for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from ultra_train.tasks.mlm.evaluation import MLMTrainer

VOCABULARY = 96
PAD, UNKNOWN, CLS, SEP, MASK = range(5)
BERT: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": PAD,
    "bos_token_id": CLS,
    "eos_token_id": SEP,
}
XLM = {
    "vocab_size": VOCABULARY,
    "n_words": VOCABULARY,
    "emb_dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "max_position_embeddings": 40,
    "pad_index": PAD,
    "pad_token_id": PAD,
    "mask_index": MASK,
    "unk_index": UNKNOWN,
    "bos_index": CLS,
    "eos_index": SEP,
}
ROBERTA = {**BERT, "pad_token_id": 1, "type_vocab_size": 1}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
DEBERTA_V2 = {
    **DEBERTA,
    "position_biased_input": False,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "modernbert": {
        **BERT,
        "cls_token_id": CLS,
        "sep_token_id": SEP,
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
    },
    "albert": {**BERT, "embedding_size": 12},
    "deberta": {**DEBERTA, "legacy": True},
    "deberta-new-head": {**DEBERTA, "legacy": False},
    "deberta-v2": {**DEBERTA_V2, "conv_kernel_size": 3, "conv_act": "gelu", "legacy": True},
    "deberta-v3": {**DEBERTA_V2, "legacy": False},
    "distilbert": {
        "vocab_size": VOCABULARY,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 40,
        "pad_token_id": PAD,
    },
    "electra": {**BERT, "embedding_size": 12},
    "mpnet": {**BERT, "pad_token_id": 1},
    "xlm": XLM,
    "flaubert": {**XLM, "layerdrop": 0.3},
    "funnel": {
        "vocab_size": VOCABULARY,
        "d_model": 16,
        "block_sizes": [1, 1],
        "num_decoder_layers": 1,
        "n_head": 2,
        "d_head": 8,
        "d_inner": 24,
    },
    "fnet": BERT,
    "longformer": {**ROBERTA, "attention_window": 8},
    "big_bird": {
        **BERT,
        "max_position_embeddings": 64,
        "block_size": 4,
        "num_random_blocks": 1,
        "attention_type": "block_sparse",
    },
    "mobilebert": {**BERT, "embedding_size": 12, "intra_bottleneck_size": 8, "true_hidden_size": 8},
    "rembert": {**BERT, "input_embedding_size": 12, "output_embedding_size": 20},
    "convbert": {**BERT, "embedding_size": 12, "head_ratio": 1, "conv_kernel_size": 3},
    "roformer": {**BERT, "embedding_size": 12},
    "ernie": {**BERT, "use_task_id": True, "task_type_vocab_size": 2},
    "megatron-bert": BERT,
    "nomic_bert": BERT,
    "eurobert": {**BERT, "num_key_value_heads": 1, "pad_token_id": PAD, "mask_token_id": MASK},
    "gte": BERT,
}

VARIANTS = {"deberta-new-head": "deberta", "deberta-v3": "deberta-v2"}
"""Families that are another configuration of one that transformers knows."""


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Name a family; a test with it runs once for each."""
    return str(request.param)


@pytest.fixture
def build() -> Callable[..., PreTrainedModel]:
    """Build the tiny model of a family, the same weights every time: ``build("bert", hidden_size=8)``."""

    def make(family: str, **options: Any) -> PreTrainedModel:
        torch.manual_seed(0)
        config = AutoConfig.for_model(VARIANTS.get(family, family), **{**FAMILIES[family], **options})
        return AutoModelForMaskedLM.from_config(config)

    return make


@pytest.fixture
def texts() -> Callable[..., dict[str, Tensor]]:
    """Make a batch with padding in its last row: ``texts(model, rows=3, length=12, seed=0)``."""

    def make(
        model: Any, *, rows: int, length: int, seed: int, masked: float = 0.2, padded: bool = True
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(MASK + 1, VOCABULARY, (rows, length), generator=generator)
        real = torch.ones_like(ids)
        if padded:
            real[-1, length - length // 4 :] = 0
        chosen = (torch.rand(ids.shape, generator=generator) < masked) & (real == 1)
        chosen[0, 1] = True
        pad = getattr(model.config, "pad_token_id", None) or PAD
        return {
            "input_ids": ids.masked_fill(chosen, MASK).masked_fill(real == 0, pad),
            "attention_mask": real,
            "labels": ids.masked_fill(~chosen, -100),
        }

    return make


class FewBatches:
    """A loader over given micro-batches, the same ones in every epoch."""

    def __init__(self, batches: list[dict[str, Tensor]]) -> None:
        self.batches = batches
        self.epoch, self.index = 0, 0

    def __len__(self) -> int:
        return len(self.batches)

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "index": self.index}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epoch, self.index = state["epoch"], state["index"]

    def __iter__(self) -> Any:
        while self.index < len(self.batches):
            self.index += 1
            yield self.batches[self.index - 1]
        self.epoch, self.index = self.epoch + 1, 0


@pytest.fixture
def make_mlm_trainer(make_trainer: Callable[..., Any]) -> Callable[..., MLMTrainer]:
    """Build the trainer of masked language models over some micro-batches."""

    def make(model: PreTrainedModel, batches: list[dict[str, Tensor]], **options: Any) -> MLMTrainer:
        loader = FewBatches(batches)
        return make_trainer(
            model=model, loader=loader, trainer_class=MLMTrainer, frequent_token=MASK + 1, **options
        )

    return make
