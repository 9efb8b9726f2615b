"""The base model that a run continues: loading it, and checking its files against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from ultra_core.errors import UltraError
from ultra_train.hf.errors import check_weight_shapes, describe_error
from ultra_train.hf.precision import DTYPE_NAMES, stored_dtype
from ultra_train.hf.sequence_length import can_read, configured_length, max_readable_length
from ultra_train.hf.stateless import make_stateless
from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.hf.vocabulary import num_embeddings
from ultra_train.trainer.non_finite import all_finite

_WRAPPERS = r"^(?:_orig_mod\.|module\.)+"
"""The prefixes that ``torch.compile`` and data parallelism add to names of weights."""

_SHOWN = 4


@attrs.frozen
class Base:
    """A base model, with notices about how it was loaded.

    Attributes:
        name: folder or hub id.
        model: the model, with its weights in the requested precision.
        dtype: the precision of its files.
        fresh: weights that are missing from its files and are initialised at random.
        unused: weights in its files that the model does not have.
        added: number of rows that were added to the embeddings.
    """

    name: str
    model: PreTrainedModel
    dtype: torch.dtype
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    added: int

    def check(self, tokenizer: Any, max_length: int, key: str = "training.max_length") -> Iterator[str]:
        """Run the model on a row of tokens, and tell the tokenizer how long a row may be.

        Args:
            tokenizer: the tokenizer.
            max_length: tokens that a row will have at most.
            key: the key of the preset that says so, for messages.

        Yields:
            notices for the user: which weights did not fit, and limits of the model.

        Raises:
            UltraError: it cannot be run, or cannot read rows of ``max_length`` tokens.
        """
        try:
            yield from self._notices(tokenizer)
            yield from self._fit(tokenizer, max_length, key)
        except UltraError:
            raise
        except Exception as error:  # whatever the code of a foreign model raises
            raise UltraError(
                f"base_model {self.name!r} ({type(self.model).__name__}) cannot be run on a row of tokens: "
                f"{describe_error(error)}"
            ) from error

    def _notices(self, tokenizer: Any) -> Iterator[str]:
        saved, held = _precision(self.dtype), _precision(self.model.dtype)
        if saved != held:
            yield f"is saved in {saved}; its weights are trained in {held}"
        if self.fresh:
            yield f"has no weights for {_modules(self.fresh)}: they start at random"
        if self.unused:
            yield f"has weights that are not used: {_modules(self.unused)}"
        if self.added:
            yield f"has {self.added:,} rows of embeddings less than the tokenizer has tokens; they are added"
        pad = getattr(self.model.config, "pad_token_id", None)
        if pad is not None and pad != tokenizer.pad_token_id:
            own = tokenizer.pad_token_id
            yield f"pads with token {pad}, the tokenizer with {own}: do they belong together?"
        if getattr(self.model.config, "is_decoder", False):
            yield "is a decoder by its config (is_decoder): no token sees those after it"

    def _fit(self, tokenizer: Any, max_length: int, key: str) -> Iterator[str]:
        table, meant = max_readable_length(self.model), configured_length(self.model)
        most = meant if table is None else table
        if table is not None and max_length > table:
            raise UltraError(
                self._too_long(max_length, key, f"reads at most {table} tokens; set it to {table} or less")
            )
        if table is None and (meant is None or max_length > meant):
            if not can_read(self.model, max_length):
                raise UltraError(self._too_long(max_length, key, "cannot read so many tokens"))
            if meant is not None:
                yield f"was made for {meant} tokens; rows have up to {max_length} ({key})"
            most = max_length
        assert most is not None
        said = tokenizer.model_max_length
        fits = isinstance(said, int) and max_length <= said <= most
        tokenizer.model_max_length = said if fits else most

    def _too_long(self, max_length: int, key: str, reason: str) -> str:
        return f"{key} is {max_length}, but base_model {self.name!r} {reason}"


def load_base(
    base: str,
    *,
    dtype: torch.dtype,
    tokens: int = 0,
    trust_remote_code: bool = False,
    head: Any = AutoModelForMaskedLM,
    prepare: Callable[[PretrainedConfig], None] | None = None,
) -> Base:
    """Load a model of transformers for further training, with the head of a masked language model or another.

    Weights are converted to ``dtype``, because most updates are below the resolution of half precision.
    Known other names of heads and prefixes are translated. Weights that are missing from the files are
    initialised from the global random generator.

    Args:
        base: folder or hub id.
        dtype: precision of the weights that are trained.
        tokens: number of token ids that need a row of the embeddings.
        trust_remote_code: run code that comes with the model.
        head: the Auto class of the model with its head; a head that the files do not have, or for other
            labels, starts at random.
        prepare: changes the config before the model is built, such as its labels.

    Raises:
        UltraError: it cannot be loaded, has no weight that fits, or weights that are not finite.
    """
    import ultra_blocks.hf  # noqa: F401  registers our classes, which a base model may have

    try:
        with transformers_errors_only():
            return _loaded(base, dtype, tokens, trust_remote_code, head, prepare or _as_it_is)
    except UltraError as error:
        raise UltraError(f"base_model {base!r}: {error}") from error
    except Exception as error:  # files, configs and the code of a foreign model fail in every way there is
        raise UltraError(f"base_model {base!r} cannot be loaded: {describe_error(error)}") from error


def _as_it_is(config: PretrainedConfig) -> None:
    """Change nothing."""


def _loaded(
    base: str,
    dtype: torch.dtype,
    tokens: int,
    trust: bool,
    head: Any,
    prepare: Callable[[PretrainedConfig], None],
) -> Base:
    def load(**options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        options |= {"dtype": dtype, "trust_remote_code": trust, "ignore_mismatched_sizes": True}
        return head.from_pretrained(base, output_loading_info=True, **{"config": config, **options})

    config = AutoConfig.from_pretrained(base, trust_remote_code=trust)
    prepare(config)
    saved = stored_dtype(base) or getattr(config, "dtype", None) or torch.float32
    model, info = load()
    if options := _renamed(model, info["unexpected_keys"]):
        model, info = load(**options)
    other_head = {
        name
        for name, *_ in info["mismatched_keys"]
        if head is not AutoModelForMaskedLM and not name.startswith(f"{model.base_model_prefix}.")
    }
    info["mismatched_keys"] = {one for one in info["mismatched_keys"] if one[0] not in other_head}
    check_weight_shapes(info)
    info["missing_keys"] = {*info["missing_keys"], *other_head}
    own = [name for name, _ in model.named_parameters()]  # each tensor once, whatever it is tied to
    fresh = tuple(name for name in own if name in info["missing_keys"])
    unused = tuple(sorted(info["unexpected_keys"]))
    if len(fresh) == len(own):
        raise UltraError(f"none of its weights fits {type(model).__name__}; it has {_modules(unused)}")
    if info["missing_keys"]:
        _draw(model, info["missing_keys"], trust, head)
    if bad := [name for name, p in model.named_parameters() if not all_finite([p])]:
        raise UltraError(f"it has weights that are not finite: {_modules(bad)}")
    if added := max(0, tokens - num_embeddings(model)):
        model = _with_rows(model, -(-tokens // 64) * 64, trust, head)
    model.config.output_attentions = False  # it cannot be saved with the fast kernels of attention
    make_stateless(model)
    return Base(base, model, saved, fresh, unused, added)


def _renamed(model: PreTrainedModel, unexpected: Iterable[str]) -> dict[str, Any]:
    """Return the options of ``from_pretrained`` that translate other names of weights in the files."""
    names = list(unexpected)
    if getattr(model.config, "legacy", None) is True and any(n.startswith("lm_predictions.") for n in names):
        # DeBERTa's own head; the one that transformers builds by default has other names
        model.config.legacy = False
        return {"config": model.config}
    wrapped = [name for name in names if re.match(_WRAPPERS, name)]
    return {"key_mapping": {_WRAPPERS: ""}} if 2 * len(wrapped) > len(names) else {}


def _draw(model: PreTrainedModel, missing: Iterable[str], trust: bool, head: Any) -> None:
    """Initialise the weights that are missing from the files; transformers leaves some uninitialised."""
    state = _new(model, trust, head).state_dict()
    with torch.no_grad():
        for name in missing:
            if name in state:
                model.get_parameter_or_buffer(name).copy_(state[name])


def _with_rows(model: PreTrainedModel, rows: int, trust: bool, head: Any) -> PreTrainedModel:
    """Return the model with a larger vocabulary: more rows of the embeddings and of the head."""
    before = model.state_dict()
    model.config.vocab_size = rows
    larger = _new(model, trust, head)
    with torch.no_grad():
        for name, value in larger.state_dict().items():
            old = before[name]
            value[tuple(slice(0, size) for size in old.shape)] = old
    return larger


def _new(model: PreTrainedModel, trust: bool, head: Any) -> PreTrainedModel:
    made = head.from_config(model.config, trust_remote_code=trust, dtype=model.dtype)
    assert isinstance(made, PreTrainedModel)
    return made.train(model.training)


def _precision(dtype: torch.dtype) -> str:
    return DTYPE_NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def _modules(names: Iterable[str]) -> str:
    """Return the names of the modules of these weights, or of the first few and the number of others."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    more = f" and {len(modules) - _SHOWN} more" if len(modules) > _SHOWN else ""
    return ", ".join(modules[:_SHOWN]) + more
