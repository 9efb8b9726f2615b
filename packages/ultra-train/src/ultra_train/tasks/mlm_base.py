"""The finished model that a run continues: what it is loaded as, and what of its files fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from ultra_core.errors import UltraError
from ultra_train.guards import all_finite
from ultra_train.lengths import can_read, readable_length
from ultra_train.quiet import quiet_transformers
from ultra_train.saved_dtype import NAMES
from ultra_train.tokenizer import num_ids

_WRAPPERS = ("_orig_mod.", "module.")
"""What ``torch.compile`` and data parallelism put before the names of weights."""

_SHOWN = 4


@attrs.frozen
class Base:
    """A base model, and what there is to say about it.

    Attributes:
        name: folder or hub id.
        model: the model, its weights in the precision that was asked for.
        dtype: the precision of its files.
        fresh: weights that its files have not, drawn at random.
        unused: weights of its files that the model has not.
    """

    name: str
    model: PreTrainedModel
    dtype: torch.dtype
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def notices(self) -> Iterator[str]:
        """Yield what the user should know: another precision than that of the files, and what did not fit."""
        saved, held = _precision(self.dtype), _precision(self.model.dtype)
        if saved != held:
            yield f"is saved in {saved}; its weights are trained in {held}"
        if self.fresh:
            yield f"has no weights for {_modules(self.fresh)}: they start at random"
        if self.unused:
            yield f"has weights that are not used: {_modules(self.unused)}"

    def fit(self, tokenizer: Any, max_length: int) -> Iterator[str]:
        """Give every token a row of the embeddings, and tell the tokenizer how long a row may be.

        Yields:
            what was added, and a length that the model was not made for.

        Raises:
            UltraError: it cannot be run, or cannot read rows of ``max_length`` tokens.
        """
        table, meant = self._table(), getattr(self.model.config, "max_position_embeddings", None)
        most = meant if table is None else table
        if isinstance(most, int):
            if max_length <= most:
                tokenizer.model_max_length = min(tokenizer.model_max_length, most)
            elif table is None and can_read(self.model, max_length):
                yield f"was made for {most} tokens; rows have up to {max_length} (training.max_length)"
            else:
                raise UltraError(
                    f"training.max_length is {max_length}, but base_model {self.name!r} reads at most {most} "
                    f"tokens; set it to {most} or less"
                )
        embeddings: Any = self.model.get_input_embeddings()
        rows, needed = embeddings.weight.shape[0], num_ids(tokenizer)
        if needed > rows:
            _add_rows(self.model, -(-needed // 64) * 64)
            yield f"has {rows:,} rows of embeddings; {needed - rows:,} more tokens get rows of their own"

    def _table(self) -> int | None:
        try:
            return readable_length(self.model)
        except Exception as error:  # whatever the code of a foreign model raises
            raise UltraError(
                f"base_model {self.name!r} ({type(self.model).__name__}) cannot be run on a row of six "
                f"tokens: {type(error).__name__}: {error}"
            ) from error


def _add_rows(model: Any, rows: int) -> None:
    """Give the embeddings and the head of a model more rows."""
    head = getattr(getattr(model, "lm_predictions", None), "lm_head", None)
    if head is None:
        model.resize_token_embeddings(rows)
        return
    # DeBERTa's own head decodes with the embeddings; transformers takes its inner matrix for the decoder
    model.base_model.resize_token_embeddings(rows)
    head.bias = nn.Parameter(nn.functional.pad(head.bias.detach(), (0, rows - len(head.bias))))


def load_base(base: str, *, dtype: torch.dtype, trust_remote_code: bool = False) -> Base:
    """Load a masked language model of transformers to be trained further.

    Weights are held in ``dtype`` whatever they are saved in: in half precision most updates are smaller than
    what a weight can move by. Heads and prefixes that are known by other names are put where they belong.

    Args:
        base: folder or hub id.
        dtype: precision of the weights that are trained.
        trust_remote_code: run code that comes with the model.

    Raises:
        UltraError: it cannot be loaded, has no weight that fits, or weights that are not finite.
    """
    import ultra_blocks.hf  # noqa: F401  registers our classes, which a base model may have

    def load(**options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        options |= {"dtype": dtype, "trust_remote_code": trust_remote_code}
        return AutoModelForMaskedLM.from_pretrained(base, output_loading_info=True, **options)

    try:
        with quiet_transformers():
            saved = _saved_dtype(base, trust_remote_code)
            model, info = load()
            if options := _renamed(model, info["unexpected_keys"]):
                model, info = load(**options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UltraError(f"base_model {base!r} cannot be loaded: {error}") from error
    own = [name for name, _ in model.named_parameters()]  # each tensor once, whatever it is tied to
    fresh, unused = tuple(n for n in own if n in info["missing_keys"]), tuple(sorted(info["unexpected_keys"]))
    if len(fresh) == len(own):
        raise UltraError(
            f"base_model {base!r}: none of its weights fits {type(model).__name__}; it has {_modules(unused)}"
        )
    bad = [name for name, p in model.named_parameters() if not all_finite([p])]
    if bad:
        raise UltraError(f"base_model {base!r} has weights that are not finite: {_modules(bad)}")
    keep_attention_type(model)
    return Base(base, model, saved, fresh, unused)


def _saved_dtype(base: str, trust_remote_code: bool) -> torch.dtype:
    """Return the precision of the files: what the config says, else what the weights are."""
    config = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code)
    if isinstance(config.dtype, torch.dtype):
        return config.dtype
    return AutoModelForMaskedLM.from_pretrained(base, dtype="auto", trust_remote_code=trust_remote_code).dtype


def _renamed(model: PreTrainedModel, unexpected: Iterable[str]) -> dict[str, Any]:
    """Return with which options weights that have another name in the files find their place."""
    names = list(unexpected)
    if getattr(model.config, "legacy", None) is True and any(n.startswith("lm_predictions.") for n in names):
        # DeBERTa's own head; the one that transformers builds by default has other names
        model.config.legacy = False
        return {"config": model.config}
    for prefix in _WRAPPERS:
        if names and all(name.startswith(prefix) for name in names):
            return {"key_mapping": {f"^{prefix}".replace(".", r"\."): ""}}
    return {}


def _precision(dtype: torch.dtype) -> str:
    return NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def _modules(names: Iterable[str]) -> str:
    """Return the modules of weights in words: the first few, and how many more there are."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    more = f" and {len(modules) - _SHOWN} more" if len(modules) > _SHOWN else ""
    return ", ".join(modules[:_SHOWN]) + more


def keep_attention_type(model: nn.Module) -> None:
    """Make what a model computes for a batch independent of the batches before it.

    BigBird turns its sparse attention into full attention at the first batch that is short, and never back; a
    run that is resumed would not know. The kind of attention that its config names returns after every batch.
    """
    for module in model.modules():
        if callable(getattr(module, "set_attention_type", None)) and hasattr(module, "config"):
            module.register_forward_hook(_restore_attention, always_call=True)
            return


def _restore_attention(module: Any, args: Any, output: Any) -> None:
    with torch.device("meta"):  # its new submodules get the old weights; those that they are made with, go
        module.set_attention_type(module.config.attention_type)
