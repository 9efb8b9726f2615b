"""Small tokenizers with the algorithm and the special tokens of a family of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIZE = 400
"""Greatest number of tokens, special ones and the alphabet included."""


class Family(NamedTuple):
    """How a family of models splits texts.

    Attributes:
        algorithm: the model and the trainer of the library ``tokenizers``.
        padding, unknown, first, last, mask: the special tokens; ``first`` and ``last`` enclose a text.
    """

    algorithm: str
    padding: str
    unknown: str
    first: str
    last: str
    mask: str


_BRACKETS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ANGLES = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
WORD_PIECES = Family("wordpiece", *_BRACKETS)
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("roberta", "longformer", "deberta"), Family("bpe", *_ANGLES)),
    "modernbert": Family("bpe", *_BRACKETS),
    **dict.fromkeys(("xlm-roberta", "camembert"), Family("unigram", *_ANGLES)),
    **dict.fromkeys(("albert", "deberta-v2"), Family("unigram", *_BRACKETS)),
}
"""The tokenizer of a type of model; that of types not listed is ``WORD_PIECES``, as for BERT."""


def train_family_tokenizer(model_type: str, texts: Iterable[str], folder: Path) -> PreTrainedTokenizerFast:
    """Train a tokenizer of the family of ``model_type``, save it into the folder, and return it."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES.get(model_type, WORD_PIECES)
    # padding comes second, since RoBERTa counts positions from its id plus one
    special = [family.first, family.padding, family.last, family.unknown, family.mask]
    core, trainer = _untrained(family, special)
    core.train_from_iterator(texts, trainer)
    core.post_processor = TemplateProcessing(
        single=f"{family.first} $A {family.last}",
        pair=f"{family.first} $A {family.last} $B {family.last}",
        special_tokens=[(token, core.token_to_id(token)) for token in (family.first, family.last)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=family.padding,
        unk_token=family.unknown,
        cls_token=family.first,
        sep_token=family.last,
        mask_token=family.mask,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _untrained(family: Family, special: list[str]) -> tuple[Any, Any]:
    """Return an untrained tokenizer and its trainer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    options: dict[str, Any] = {"vocab_size": SIZE, "special_tokens": special, "show_progress": False}
    if family.algorithm == "bpe":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return core, trainers.BpeTrainer(initial_alphabet=alphabet, **options)
    if family.algorithm == "unigram":
        core = Tokenizer(models.Unigram())
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.decoder = decoders.Metaspace()
        return core, trainers.UnigramTrainer(unk_token=family.unknown, **options)
    core = Tokenizer(models.WordPiece(unk_token=family.unknown))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return core, trainers.WordPieceTrainer(**options)
