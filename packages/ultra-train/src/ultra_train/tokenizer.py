"""Trains a SentencePiece tokenizer for masked language models and saves it as a fast Hugging Face tokenizer
too.

The folder holds ``tokenizer.json`` and ``tokenizer_config.json``, which `AutoTokenizer` reads, and
``sentencepiece.model``. Both give the same tokens.
"""

from __future__ import annotations

import io
import os
import random
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ultra_core.errors import UltraError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MODEL_FILE = "sentencepiece.model"

_THREADS = 16  # the result depends on their number, so it is the same on every machine
_LONGEST_SENTENCE = 4000  # bytes; SentencePiece leaves out longer ones
_SCORE_STEPS = 256
_NORMAL, _UNIGRAM = 1, 1  # piece type and model type in SentencePiece's file format
_BREAK = "\x01"


class TokenizerError(UltraError):
    """A tokenizer that cannot be trained or loaded."""


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int,
    output_dir: str | Path,
    model_type: Literal["unigram", "bpe"] = "unigram",
    max_length: int = 512,
    lowercase: bool = False,
    character_coverage: float = 0.9999,
    max_texts: int = 2_000_000,
    seed: int = 0,
) -> PreTrainedTokenizerFast:
    """Train a tokenizer, save it, and return it.

    Text is normalised to NFKC with runs of white space joined; characters outside the vocabulary become their
    UTF-8 bytes, so nothing is ever unknown. Specials are ``[PAD] [UNK] [CLS] [SEP] [MASK]``, ids 0 to 4; a
    text becomes ``[CLS] text [SEP]``. The same texts and settings give the same files.

    Args:
        texts: The corpus.
        vocab_size: Number of tokens, the five special ones and the 256 bytes included.
        output_dir: Folder to write into, once training has succeeded.
        model_type: ``"unigram"`` (Kudo 2018, arXiv:1804.10959) or ``"bpe"`` (Sennrich et al. 2016,
            arXiv:1508.07909).
        max_length: The tokenizer's `model_max_length`.
        lowercase: Fold case.
        character_coverage: Share of the characters of the corpus that get a token of their own.
        max_texts: Train on a random sample when there are more texts than this.
        seed: Names the sample.

    Raises:
        TokenizerError: No usable text, or `vocab_size` is larger or smaller than this corpus allows.
        OSError: The folder cannot be written.
    """
    sample = _sample(texts, max_texts, seed)
    if not sample:
        raise TokenizerError("The tokenizer's corpus has no usable text; every text of it is blank.")
    model = _fit(sample, vocab_size, model_type, lowercase, character_coverage)
    tokenizer = _fast(model, max_length)
    _save(tokenizer, model, Path(output_dir))
    return tokenizer


def load_tokenizer(
    name_or_path: str | Path, *, use_fast: bool = True, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or from the hub.

    Raises:
        TokenizerError: There is none, with the reason.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(name_or_path), use_fast=use_fast, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # the hub client and the converters raise errors of many libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TokenizerError(
            f"{name_or_path}: no tokenizer can be loaded from this folder or hub name "
            f"({type(error).__name__}: {reason}). Train one with `ultra-train tokenizer train`, or give "
            "tokenizer.name_or_path a folder that holds a tokenizer.json."
        ) from error


def num_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the largest id of a tokenizer plus one; its length is smaller where the vocabulary has gaps."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=-1))


def to_fast(model: bytes) -> Tokenizer:
    """Convert a SentencePiece model (unigram or BPE, byte fallback) for the library `tokenizers`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    proto = _parse(model)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    if proto.trainer_spec.model_type == _UNIGRAM:
        core: Any = models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=True)
    else:
        ids = {piece: number for number, (piece, _) in enumerate(pieces)}
        core = models.BPE(ids, _merges(proto), unk_token=UNK, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(core)
    tokenizer.normalizer = _normalizer(proto.normalizer_spec.precompiled_charsmap)
    # "first": what follows a special token inside a text continues it, unless a space stands between.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # [MASK] takes the space before it along, since it stands for a token that would have had it.
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, lstrip=token == MASK) for token in SPECIAL_TOKENS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(CLS, tokenizer.token_to_id(CLS)), (SEP, tokenizer.token_to_id(SEP))],
    )
    return tokenizer


def _fit(sample: list[str], vocab_size: int, model_type: str, lowercase: bool, coverage: float) -> bytes:
    import sentencepiece

    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=written,
            model_type=model_type,
            vocab_size=vocab_size,
            character_coverage=coverage,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            byte_fallback=True,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=PAD,
            unk_piece=UNK,
            bos_piece=CLS,
            eos_piece=SEP,
            control_symbols=[MASK],
            max_sentence_length=2 * _LONGEST_SENTENCE,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(str(error), vocab_size) from error
    proto = _parse(written.getvalue())
    for piece in proto.pieces:
        # Sums of such scores are exact in fp32 and fp64 alike, so that both implementations break ties alike.
        piece.score = round(piece.score * _SCORE_STEPS) / _SCORE_STEPS
    return proto.SerializeToString(deterministic=True)


def _explained(message: str, vocab_size: int) -> TokenizerError:
    if found := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        return TokenizerError(
            f"The vocabulary of {vocab_size} tokens is larger than this corpus allows: at most {found[1]}. "
            f"Set vocab_size to {found[1]} or less (a preset says it in model and in tokenizer.train), or "
            "give more text."
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return TokenizerError(
            f"The vocabulary of {vocab_size} tokens is too small for the characters of this corpus: it takes "
            f"at least {found[1]} (5 special tokens, 256 bytes, the characters). Raise vocab_size or lower "
            "character_coverage."
        )
    if "all_chars_count" in message:
        return TokenizerError(
            "The tokenizer's corpus has no usable text: nothing is left of it once it is normalised."
        )
    return TokenizerError(f"SentencePiece could not train a vocabulary of {vocab_size} tokens: {message}")


def _parse(model: bytes) -> Any:
    from sentencepiece import sentencepiece_model_pb2 as format_

    proto = format_.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model)
    return proto


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Return every pair of pieces that makes a piece, best piece first: SentencePiece joins any such pair."""
    ids = {piece.piece: number for number, piece in enumerate(proto.pieces) if piece.type == _NORMAL}
    ranked = [
        (-proto.pieces[number].score, number, cut, piece)
        for piece, number in ids.items()
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    return [(piece[:cut], piece[cut:]) for _, _, cut, piece in sorted(ranked)]


def _normalizer(charsmap: bytes) -> Normalizer:
    """Return SentencePiece's normaliser: its table of characters, then joined spaces.

    The library's `Precompiled` drops a combining mark when the character before it is in the table and the
    two are not. So what can be composed is composed first, which also sorts the marks of a letter, and the
    marks that are left are parted from their base by a break that is taken out afterwards.
    """
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"(?=[\p{M}\x{200c}\x{200d}])"), _BREAK),
            normalizers.Precompiled(charsmap),
            normalizers.Replace(_BREAK, ""),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace(Regex(" $"), ""),
        ]
    )


def _fast(model: bytes, max_length: int) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=to_fast(model),
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _save(tokenizer: PreTrainedTokenizerFast, model: bytes, output_dir: Path) -> None:
    """Write everything beside its place first, so that a full disk or a kill leaves no half a tokenizer."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=output_dir) as folder:
        partial = Path(folder)
        (partial / MODEL_FILE).write_bytes(model)
        tokenizer.save_pretrained(partial)
        # tokenizer.json comes last: it is what makes the folder a tokenizer
        for path in sorted(partial.iterdir(), key=lambda path: path.name == "tokenizer.json"):
            os.replace(path, output_dir / path.name)


def _sample(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """Return at most `size` sentences, each with the same chance (reservoir sampling)."""
    chosen: list[str] = []
    draw = random.Random(seed)
    for number, sentence in enumerate(piece for text in texts for piece in _sentences(text)):
        if number < size:
            chosen.append(sentence)
        elif (place := draw.randrange(number + 1)) < size:
            chosen[place] = sentence
    return chosen


def _sentences(text: str) -> Iterator[str]:
    """Yield a text in parts that SentencePiece accepts, cut at white space where there is some."""
    text = text.replace("\0", " ").strip()
    while len(text.encode("utf-8", "replace")) > _LONGEST_SENTENCE:
        reach = _LONGEST_SENTENCE // 4  # a character has at most four bytes
        cut = max(text.rfind(" ", 1, reach), 0) or reach
        yield text[:cut]
        text = text[cut:].lstrip()
    if text:
        yield text
