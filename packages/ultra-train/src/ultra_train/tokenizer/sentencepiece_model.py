"""SentencePiece models: training them in memory, and converting them for the library ``tokenizers``.

Both implementations give the same tokens.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from ultra_core.errors import UltraError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

LONGEST_SENTENCE = 4000
"""Greatest length of a sentence for training, in bytes."""

_THREADS = 16  # fixed, since the result depends on the number of threads
_SCORE_STEPS = 256
_NORMAL, _UNIGRAM = 1, 1  # piece type and model type in SentencePiece's file format
_BREAK = "\x01"


class TokenizerError(UltraError):
    """Raised for a tokenizer that cannot be trained or loaded."""


def fit(sample: list[str], vocab_size: int, model_type: str, lowercase: bool, coverage: float) -> bytes:
    """Train on sentences of at most ``LONGEST_SENTENCE`` bytes, and return the model file.

    Args:
        sample: the sentences.
        vocab_size: number of tokens, special tokens and bytes included.
        model_type: ``unigram`` or ``bpe``.
        lowercase: whether to fold case.
        coverage: share of the characters of the sample that get a token of their own.

    Raises:
        TokenizerError: the vocabulary is too large or too small for the sample.
    """
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
            max_sentence_length=2 * LONGEST_SENTENCE,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(str(error), vocab_size) from error
    proto = parse(written.getvalue())
    for piece in proto.pieces:
        # Sums of such scores are exact in fp32 and fp64, so both implementations break ties in the same way.
        piece.score = round(piece.score * _SCORE_STEPS) / _SCORE_STEPS
    return proto.SerializeToString(deterministic=True)


def to_fast(model: bytes) -> Tokenizer:
    """Convert a SentencePiece model (unigram or BPE, byte fallback) for the library ``tokenizers``."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    proto = parse(model)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    if proto.trainer_spec.model_type == _UNIGRAM:
        core: Any = models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=True)
    else:
        ids = {piece: number for number, (piece, _) in enumerate(pieces)}
        core = models.BPE(ids, _merges(proto), unk_token=UNK, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(core)
    tokenizer.normalizer = _normalizer(proto.normalizer_spec.precompiled_charsmap)
    # "first": text after a special token has a word boundary before it only where there is a space.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # [MASK] includes the space before it, like the token that it replaces.
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, lstrip=token == MASK) for token in SPECIAL_TOKENS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(CLS, tokenizer.token_to_id(CLS)), (SEP, tokenizer.token_to_id(SEP))],
    )
    return tokenizer


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
            "The tokenizer's corpus has no usable text: nothing is left of it after normalisation."
        )
    return TokenizerError(f"SentencePiece could not train a vocabulary of {vocab_size} tokens: {message}")


def parse(model: bytes) -> Any:
    """Return the pieces and settings in a model file.

    Raises:
        TokenizerError: it is not a SentencePiece model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2 as format_

    proto = format_.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise TokenizerError(f"This is not a SentencePiece model, or a damaged one ({error}).") from error
    if not proto.pieces:
        raise TokenizerError("This is not a SentencePiece model: it has no pieces.")
    return proto


def was_fitted_here(model: bytes) -> bool:
    """Return whether a model has the settings of :func:`fit`.

    Raises:
        TokenizerError: it is not a SentencePiece model.
    """
    spec = parse(model).trainer_spec
    specials = (spec.pad_piece, spec.unk_piece, spec.bos_piece, spec.eos_piece, *spec.control_symbols)
    return bool(spec.byte_fallback) and specials == (PAD, UNK, CLS, SEP, MASK)


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Return every pair of pieces that forms a piece, best piece first, as SentencePiece merges them."""
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

    The library's ``Precompiled`` drops a combining mark when the character before it is in the table and the
    two together are not. So characters are composed first (NFC), which also sorts the marks of a letter, and
    the remaining marks are separated from their base by a break that is removed afterwards.
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
