"""From the folder of a model to the folder of the converted one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel

from ultra_blocks.hf import UltraForMaskedLM
from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.convert.conversion import FAMILIES, Converted, family_of, into_ultra, out_of_ultra
from ultra_train.embeddings.loading import find
from ultra_train.hf.errors import describe_error
from ultra_train.hf.precision import stored_dtype
from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.system.files import new_whole_folder
from ultra_train.tokenizer.loading import load_tokenizer

_SHOWN = 4


def convert_folder(
    where: str, output: Path, *, to: str | None, runs: Path, trust_remote_code: bool
) -> Iterator[str]:
    """Convert a model with its tokenizer, and yield lines about it.

    Args:
        where: a folder, the name of a run, or a hub id.
        output: the folder of the new model, which must be new or empty.
        to: family of the new model; None: an encoder of ultra.
        runs: folder of runs.
        trust_remote_code: run code that comes with the model.

    Raises:
        UltraError: the model is missing or cannot be converted, or the folder is in use.
    """
    if to is not None and to not in FAMILIES:
        raise UltraError(f"--to {to}: must be {listed(list(FAMILIES))}.{did_you_mean(to, list(FAMILIES))}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UltraError(f"{output} is not empty; name a new folder with -o")
    name, _ = find(where, runs=runs)
    model, missing = _loaded(name, where, trust_remote_code)
    kind = model.config.model_type
    if to is not None and not isinstance(model, UltraForMaskedLM):
        raise UltraError(f"{where} is a {kind} model; leave out --to, which is for encoders of ultra")
    if to is None and isinstance(model, UltraForMaskedLM):
        raise UltraError(
            f"{where} is an encoder of ultra already; --to {' or --to '.join(FAMILIES)} converts it back"
        )
    try:
        made = into_ultra(model) if to is None else out_of_ultra(model, FAMILIES[to])
    except UltraError as error:
        raise UltraError(f"{where}: {error}") from error
    yield from _notices(made, missing)
    _write(made.model, name, output, trust_remote_code)
    yield f"{output}: {type(made.model).__name__}, {made.model.num_parameters():,} parameters"
    yield f"largest difference of logits: {made.difference:.1e} of the largest logit"


def _loaded(name: str, where: str, trust_remote_code: bool) -> tuple[PreTrainedModel, list[str]]:
    """Return the masked language model of a folder, and the tensors that its files lack.

    Raises:
        UltraError: it cannot be loaded or converted, or lacks tensors of the encoder.
    """
    try:
        with transformers_errors_only():
            model, report = AutoModelForMaskedLM.from_pretrained(
                name,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=trust_remote_code,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UltraError(f"{where}: cannot be loaded: {describe_error(error)}") from error
    missing = sorted(report["missing_keys"])
    ours = isinstance(model, UltraForMaskedLM)
    head = ("head.",) if ours else family_of(model.config.model_type).head
    if lost := [tensor for tensor in missing if not tensor.startswith(head)]:
        raise UltraError(f"{where}: its files have no {_some(lost)}")
    return model, missing


def _notices(made: Converted, missing: list[str]) -> Iterator[str]:
    if missing:
        yield f"notice: its files have no {_some(missing)}, which are random in the new model, too"
    if made.dropped:
        yield f"notice: without a place in the new model: {_some(list(made.dropped))}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return listed(names[:_SHOWN]) + more


def _write(model: PreTrainedModel, source: str, output: Path, trust_remote_code: bool) -> None:
    """Write a model, in the precision of its source, and its tokenizer into a new folder, all or nothing."""
    dtype: Any = stored_dtype(source) or torch.float32
    tokenizer = load_tokenizer(source, trust_remote_code=trust_remote_code)
    with new_whole_folder(output) as folder, transformers_errors_only():
        model.to(dtype)
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
