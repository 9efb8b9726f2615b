"""All checks of a model."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ultra_train.data.sources.texts import TextReader
from ultra_train.embeddings.building import splade_encoder
from ultra_train.embeddings.doctor.findings import Finding
from ultra_train.embeddings.doctor.inputs import lengths, tokens
from ultra_train.embeddings.doctor.outputs import dense_space, head, sparse_space
from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.heads import head_report
from ultra_train.embeddings.kinds import Kind
from ultra_train.embeddings.loading import find, load_encoder, loading
from ultra_train.hf.sequence_length import max_readable_length
from ultra_train.system.run_files import RUNS

_READ = 20_000
"""Texts of the data among which those that are looked at are drawn."""


def diagnose(
    where: str | Path,
    texts: Sequence[str],
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
    runs: str | Path = RUNS,
) -> Iterator[Finding]:
    """Yield what is found about a model.

    Args:
        where: an encoder or a masked language model: folder of a model or of a run, name of a run, or hub id.
        texts: texts of the data on which it is used, at least two different ones.
        device: device; None: the best one of this machine.
        trust_remote_code: run code that comes with the model.
        runs: folder of runs.

    Raises:
        EncoderError: there is no such model, it cannot be loaded, or there are too few texts.
    """
    if len(texts) < 2:
        raise EncoderError(f"two different texts at least are needed, and there are {len(texts)}")
    name, kind = find(where, runs=runs)
    options: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    encoder: Any = load_encoder(where, untrained=True, runs=runs, **options)
    network, tokenizer = encoder.transformers_model, encoder.tokenizer
    yield _kind(kind, encoder)
    with_head = encoder
    if kind == "masked-lm":
        with_head = splade_encoder(name, **options)
    if (report := head_report(with_head, texts)) is not None:
        yield head(report)
    del with_head
    if network is not None:
        yield from tokens(tokenizer, network, texts, mask_needed=kind == "masked-lm" or report is not None)
        yield lengths(tokenizer, encoder.max_seq_length, max_readable_length(network), texts)
    with loading(where), torch.inference_mode():
        if kind == "sparse":
            found = [
                sparse_space("queries", encoder.encode_query(list(texts))),
                sparse_space("documents", encoder.encode_document(list(texts))),
            ]
        else:
            vectors = encoder.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
            found = list(dense_space(vectors.float().cpu()))
    yield from found


def sample_texts(source: str, count: int, *, seed: int = 0) -> list[str]:
    """Return different texts of a data source, drawn from its first 20,000.

    Args:
        source: as the key ``training.dataset`` of a preset names it.
        count: how many.
        seed: of the draw.

    Raises:
        DataError: the source is missing or has no usable text.
    """
    texts = list(dict.fromkeys(islice(TextReader().texts(source), _READ)))
    return texts if len(texts) <= count else random.Random(seed).sample(texts, count)


def _kind(kind: Kind, encoder: Any) -> Finding:
    number = sum(parameter.numel() for parameter in encoder.parameters())
    network = encoder.transformers_model
    what = "" if network is None else f", {type(network).__name__}"
    advice = {
        "dense": "a dense encoder",
        "sparse": "a sparse encoder",
        "masked-lm": "not trained for comparing texts; a base model for sbert or splade",
    }.get(kind, "not trained for comparing texts; a base model for sbert")
    return Finding("kind", f"{kind}{what}, {number:,} parameters", advice)
