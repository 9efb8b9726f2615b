"""The twin of a preset with ``model.architecture``: a tiny base model, data sets with the real columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultra_train.twins.base_model import SIZES
from ultra_train.twins.tokenizer import train_family_tokenizer
from ultra_train.twins.written import written

UPDATES = 4
ROWS, WINDOW = 4, 2
"""Greatest batch size and number of micro-batches in an update."""

LATENTS = {"csr_k": 8, "csr_k_aux": 16, "csr_hidden_dim": 64}

TRAINING: dict[str, Any] = {
    "output_dir": None,
    "max_steps": UPDATES,
    "max_seq_length": 24,
    "eval_strategy": "steps",
    "eval_steps": UPDATES // 2,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": UPDATES // 2,
    "torch_compile": False,
    "dataloader_num_workers": 0,
    "push_to_hub": False,
    "hub_model_id": None,
    "run_name": None,
    "logging_dir": None,
    "report_to": [],
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
}
"""The keys of ``training`` that a twin does not take from its preset."""

Row = dict[str, Any]
Writer = Callable[[Sequence[str]], Iterator[tuple[str, list[Row]]]]
"""Makes the files of a data set from commands: paths with rows."""


def shrunken_tree(tree: dict[str, Any], texts: Sequence[str], folder: Path, cache: Path) -> dict[str, Any]:
    """Return the canonical form of a twin.

    Args:
        tree: that of the preset.
        texts: what the data and the tokenizer are made of.
        folder: where the base model and the data sets are written to, unless they are there.
        cache: folder of the checked data.
    """
    model, training, evaluation = tree["model"], tree["training"], tree["evaluation"]
    model |= {"base_model": str(_base_model(texts, folder)), "trust_remote_code": False}
    if model["architecture"] == "csr":
        model |= LATENTS
    training |= {**TRAINING, "cache_dir": str(cache)}
    for name, most in (
        ("per_device_train_batch_size", ROWS),
        ("per_device_eval_batch_size", 2 * ROWS),
        ("gradient_accumulation_steps", WINDOW),
    ):
        training[name] = min(training[name], most)
    for name, entry in tree["datasets"].items():
        if isinstance(entry, dict) and entry["enabled"]:
            entry["source"] = str(_data_set(name, texts, folder))
    evaluation |= {"evaluator": "sparse_information_retrieval", "mteb_tasks": []}
    tree["hardware"] |= {"device": "cpu", "distributed": False, "world_size": 1}
    return tree


def _base_model(texts: Sequence[str], folder: Path) -> Path:
    """Write a tiny BERT with its tokenizer, which stands for a base model that is on the hub only."""

    def write(place: Path) -> None:
        import torch
        from transformers import BertConfig, BertForMaskedLM

        tokenizer = train_family_tokenizer("bert", texts, place)
        own = BertConfig()
        values: dict[str, Any] = {key: size for key, size in SIZES.items() if hasattr(own, key)}
        values |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            BertForMaskedLM(BertConfig(**values)).save_pretrained(place)

    return written(folder / "sparse-base", write)


def _data_set(name: str, texts: Sequence[str], folder: Path) -> Path:
    """Write a stand-in for a data set, with the columns and files of the one on the hub."""

    def write(place: Path) -> None:
        for path, rows in STAND_INS.get(name, _own)(texts):
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    return written(folder / f"sparse-{name}", write)


def _columns(texts: Sequence[str], *names: str, start: int = 0, count: int = 24) -> list[Row]:
    """Return rows with these columns, whose texts differ."""
    chosen = texts[start * count * len(names) :][: count * len(names)]
    return [dict(zip(names, chosen[i::count], strict=True)) for i in range(count)]


def _nli(texts: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    for number, split in enumerate(("train", "dev", "test")):
        yield f"{split}.jsonl", _columns(texts, "anchor", "positive", "negative", start=number)


def _scandi_qa(texts: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    parts: Mapping[str, tuple[str, str]] = {
        "norquad": ("question", "context"),
        "noropenbookqa": ("question_stem", "fact"),
        "scandi-qa/no": ("question", "context"),
        "scandi-qa/da": ("question", "context"),
        "scandi-qa/sv": ("question", "context"),
        "supervised-da": ("query", "pos"),
    }
    for number, (part, names) in enumerate(parts.items()):
        yield f"{part}/train.jsonl", _columns(texts, *names, start=number)
    yield "norquad/validation.jsonl", _columns(texts, "question", "context", start=len(parts))


def _ddsc(texts: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    languages = ("danish", "norwegian", "swedish")
    rows = _columns(texts, "query", "positive", "negative", count=96)
    for number, row in enumerate(rows):
        row |= {"task": "retrieval", "language": languages[number % len(languages)]}
        row["negative"] = row["negative"] if number % 2 else None
    yield "train.jsonl", rows


def _own(texts: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    yield "train.jsonl", _columns(texts, "query", "document", count=96)


STAND_INS: Mapping[str, Writer] = {"nli": _nli, "scandi_qa": _scandi_qa, "ddsc": _ddsc}
"""The files of the known data sets; those of any other have the columns ``query`` and ``document``."""
