"""Predictions of a masked language model for the blanks of a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from ultra_core.errors import UltraError, did_you_mean, listed
from ultra_train.hf.errors import check_weight_shapes, describe_error
from ultra_train.hf.hub import HubName, require_hub
from ultra_train.hf.probe import logits_of
from ultra_train.hf.sequence_length import configured_length, max_readable_length
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.system.run_files import CHECKPOINTS, MODEL
from ultra_train.tokenizer.loading import load_tokenizer

MASKS = ("[MASK]", "<mask>")
"""How a blank may be written, whatever the model's own mask token is."""


class FillMaskError(UltraError):
    """A text without a blank, a text that is too long, or no model."""


@attrs.frozen
class Guess:
    """A token for a blank and its probability."""

    token: str
    probability: float


def fill_mask(
    model: str | Path,
    texts: Sequence[str],
    top_k: int = 5,
    *,
    runs: str | Path = "runs",
    trust_remote_code: bool = False,
) -> list[list[list[Guess]]]:
    """Return the most probable tokens at every blank of every text.

    Args:
        model: folder of a run or of a model, name of a run below ``runs``, or hub id.
        texts: each with one or more ``[MASK]`` or ``<mask>``.
        top_k: guesses for each blank.
        runs: folder of runs.
        trust_remote_code: run code that comes with the model.

    Returns:
        for every text, for every blank from left to right, the guesses, best first.

    Raises:
        FillMaskError: no model there, a text without a blank or longer than the model reads.
        UltraError: a hub that cannot be reached, or refuses the model.
    """
    from ultra_train.hf.verbosity import transformers_errors_only

    folder = locate(model, Path(runs))
    if not Path(folder).is_dir():
        require_hub([HubName("", folder, "model")])
    with transformers_errors_only():
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        network = _load(folder, trust_remote_code)
    return [guesses(network, tokenizer, text, top_k) for text in texts]


def locate(model: str | Path, runs: Path) -> str:
    """Return the folder that holds the model, or the hub id as it is.

    Raises:
        FillMaskError: a run that has no finished model and no checkpoint yet.
    """
    for folder in (Path(model), runs / model):
        if (folder / "config.json").is_file():
            return str(folder)
        if (folder / MODEL / "config.json").is_file():
            return str(folder / MODEL)
        if (folder / CHECKPOINTS).is_dir():
            from ultra_train.trainer.checkpoints.folders import newest_intact

            if (checkpoint := newest_intact(folder / CHECKPOINTS)) is not None:
                return str(checkpoint.path)
        if folder.is_dir():
            raise FillMaskError(
                f"{folder} holds neither a model nor a checkpoint yet. Give the folder of a run that has "
                "trained, or of a model."
            )
    path = Path(model)
    if "/" not in str(model) or str(model).startswith((".", "/", "~")) or _means_a_folder(path, runs):
        found = [*runs.glob(f"*/{MODEL}/config.json"), *runs.glob(f"*/{CHECKPOINTS}/checkpoint-*")]
        there = sorted({path.relative_to(runs).parts[0] for path in found})
        raise FillMaskError(
            f"{model} is neither a folder nor a run in {runs}.{did_you_mean(path.name, there)} "
            f"Runs there: {listed(there)}."
        )
    return str(model)


def _means_a_folder(path: Path, runs: Path) -> bool:
    """Whether ``owner/name`` lies in a folder that is here, or in that of the runs: it is no hub id then."""
    return path.parent == runs or path.parent.is_dir() or len(path.parts) > 2


def _load(folder: str, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForMaskedLM

    import ultra_blocks.hf  # noqa: F401  registers our classes

    options = {"dtype": torch.float32, "trust_remote_code": trust_remote_code}
    options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        network, info = AutoModelForMaskedLM.from_pretrained(folder, **options)
        check_weight_shapes(info)
        return network.eval()
    except Exception as error:  # files, configs and the code of a foreign model fail in every way there is
        raise FillMaskError(
            f"{folder}: no masked language model can be loaded: {describe_error(error)}"
        ) from error


@torch.no_grad()
def guesses(network: Any, tokenizer: Any, text: str, top_k: int = 5) -> list[list[Guess]]:
    """Return the guesses for every blank of one text, best first; each blank on its own.

    Raises:
        FillMaskError: a text without a blank, or one longer than the model reads.
    """
    mask = tokenizer.mask_token
    if mask is None:
        raise FillMaskError("this model's tokenizer has no mask token; it is not a masked language model")
    for spelling in MASKS:
        text = text.replace(spelling, mask)
    if mask not in text:
        raise FillMaskError(f"there is no {mask} in {text!r}; write {mask} where a word is to be guessed")
    encoded = tokenizer(text, return_tensors="pt", truncation=False, verbose=False)
    length = encoded["input_ids"].shape[1]
    if length > (longest := _longest(network, tokenizer)):
        raise FillMaskError(
            f"a text of {length} tokens is longer than the {longest} that this model reads: {text[:60]!r}..."
        )
    inputs = {k: v.to(network.device) for k, v in encoded.items() if k in ("input_ids", "attention_mask")}
    was_training = network.training
    logits = logits_of(network.eval()(**inputs))[0].float()
    network.train(was_training)
    blanks = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten().tolist()
    logits[:, list(tokenizer.all_special_ids)] = -torch.inf
    logits = logits[:, : num_token_ids(tokenizer)]  # the model may have embeddings without a token
    there = int(logits[0].isfinite().sum())
    if not there:
        raise FillMaskError(
            "there is nothing to guess: the model's predictions are not finite, or its tokenizer knows no "
            "tokens"
        )
    best = torch.softmax(logits[blanks], -1).topk(min(top_k, there))
    return [
        [Guess(readable(tokenizer, i), p) for i, p in zip(ids, probabilities, strict=True)]
        for ids, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _longest(network: Any, tokenizer: Any) -> int:
    """Return the tokens of the longest text: what there are positions for, and what the tokenizer says."""
    table, said = max_readable_length(network), tokenizer.model_max_length
    limits = [] if table is None else [table]
    if isinstance(said, int) and 0 < said < VERY_LARGE_INTEGER:
        limits.append(said)
    return min(limits) if limits else configured_length(network) or VERY_LARGE_INTEGER


def readable(tokenizer: Any, token: int) -> str:
    """Return the text of a token without blanks around it, or its name where it has no printable text."""
    word = tokenizer.decode([token]).strip()
    return word if word.isprintable() and word else str(tokenizer.convert_ids_to_tokens(token))
