"""The files with which sentence-transformers loads a saved encoder and averages its token states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def write_sentence_modules(folder: Path, *, width: int, max_length: int) -> None:
    """Write the files with which ``SentenceTransformer(folder, trust_remote_code=True)`` loads an encoder.

    Args:
        folder: holds weights, config and tokenizer already.
        width: width of a token state.
        max_length: tokens of the longest text it was trained on.
    """
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    files: dict[str, Any] = {
        "modules.json": MODULES,
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2), "utf-8")
