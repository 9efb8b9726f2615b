"""``SpanishSPMTokenizer``: a SentencePiece tokenizer as one object."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ultra_train.data.sources.data_source import SourceSpec
from ultra_train.data.sources.texts import TextReader
from ultra_train.tokenizer.files import MODEL_FILE, UNFINISHED, refuse_to_overwrite, save
from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.sentencepiece_model import TokenizerError, fit, parse
from ultra_train.tokenizer.training import fast_tokenizer, sample_sentences

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

SPANISH_TEXTS = "erickfmm/red_pajama_es_hq_35"
"""The data set of the hub that ``SpanishSPMTokenizer`` is trained on by default."""


class SpanishSPMTokenizer:
    """A SentencePiece tokenizer as one object: train it or load it, then encode.

    ::

        SpanishSPMTokenizer(vocab_size=50_000).train(model_prefix="models/es_redpajama_50k")
        tokenizer = SpanishSPMTokenizer.from_pretrained("models/es_redpajama_50k")
        outputs = model(**tokenizer.encode("El aprendizaje es fascinante.", return_tensors="pt"))

    Calling it, ``decode``, ``mask_token_id`` and everything else that is not below are those of
    ``tokenizer``, the fast Hugging Face tokenizer, which is also what a ``Trainer`` or a pipeline is to be
    given.

    Args:
        vocab_size: number of tokens to train, including the five special tokens and the 256 bytes.
        model_type, max_length, lowercase, character_coverage, max_texts, seed: as in ``train_tokenizer``.
    """

    def __init__(
        self,
        vocab_size: int = 50_000,
        *,
        model_type: Literal["unigram", "bpe"] = "bpe",
        max_length: int = 512,
        lowercase: bool = False,
        character_coverage: float = 0.9999,
        max_texts: int = 2_000_000,
        seed: int = 0,
    ) -> None:
        self.vocab_size = vocab_size
        self.max_length = max_length
        self._sampling = (max_texts, seed)
        self._fitting = (model_type, lowercase, character_coverage)
        self._model: bytes | None = None
        self._fast: PreTrainedTokenizerBase | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The fast Hugging Face tokenizer.

        Raises:
            TokenizerError: it has been neither trained nor loaded.
        """
        if self._fast is None:
            raise TokenizerError(
                "This tokenizer has no vocabulary yet. Call train(model_prefix=...), or load a trained one "
                "with SpanishSPMTokenizer.from_pretrained(...)."
            )
        return self._fast

    def train(
        self,
        texts: Iterable[str] | None = None,
        *,
        model_prefix: str | Path,
        dataset: SourceSpec = SPANISH_TEXTS,
    ) -> SpanishSPMTokenizer:
        """Train, and write ``<model_prefix>.model`` and ``<model_prefix>.vocab``, as SentencePiece does.

        Args:
            texts: the corpus; None reads ``dataset``.
            model_prefix: where to write, and what ``from_pretrained`` is given afterwards.
            dataset: a file, folder, glob or data set, written as in a preset.

        Returns:
            itself, ready to encode.

        Raises:
            TokenizerError: no usable text, ``vocab_size`` is larger or smaller than this corpus allows, or
                there is another model of this name.
            DataError: the data set cannot be read.
            OSError: the files cannot be written.
        """
        if isinstance(texts, str):
            raise TokenizerError(
                f"train() was given one text, {texts[:40]!r}; give many, or the name of a file as dataset="
            )
        refuse_to_overwrite([Path(f"{model_prefix}.model"), Path(f"{model_prefix}.vocab")])
        if texts is None:
            texts = TextReader().texts(dataset)
        self._adopt(fit(sample_sentences(texts, *self._sampling), self.vocab_size, *self._fitting))
        assert self._model is not None
        pieces = "".join(f"{piece.piece}\t{piece.score:g}\n" for piece in parse(self._model).pieces)
        prefix = Path(model_prefix)
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=prefix.parent) as folder:
            for suffix, content in (("model", self._model), ("vocab", pieces.encode())):
                (Path(folder) / suffix).write_bytes(content)
                os.replace(Path(folder) / suffix, f"{prefix}.{suffix}")
        return self

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, max_length: int = 512) -> SpanishSPMTokenizer:
        """Load what ``train`` wrote, by its prefix, or a folder or hub name that holds a tokenizer.

        Args:
            name_or_path: ``model_prefix`` of ``train``, a folder of ``save_pretrained`` or of a model, a hub
                name.
            max_length: tokens to which ``encode`` truncates; a folder or hub name says its own.

        Raises:
            TokenizerError: there is none, with the reason.
        """
        self, path = cls(max_length=max_length), Path(name_or_path)
        trained = Path(f"{str(name_or_path).removesuffix('.model')}.model")
        if trained.is_file() and not (path / "tokenizer.json").is_file():
            self._adopt(trained.read_bytes())
        else:
            self._fast = load_tokenizer(name_or_path)
            self.vocab_size, self.max_length = len(self._fast), self._fast.model_max_length
            self._model = (path / MODEL_FILE).read_bytes() if (path / MODEL_FILE).is_file() else None
        return self

    def _adopt(self, model: bytes) -> None:
        self._model, self._fast = model, fast_tokenizer(model, self.max_length)
        self.vocab_size = len(self._fast)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write it as a fast Hugging Face tokenizer, which ``AutoTokenizer`` loads."""
        if self._model is None:
            self.tokenizer.save_pretrained(str(folder))
        else:
            save(self.tokenizer, self._model, Path(folder))

    def encode(self, text: str | list[str], *, return_tensors: str | None = None) -> BatchEncoding:
        """Return ``input_ids`` and ``attention_mask`` of ``[CLS] text [SEP]``, truncated if too long.

        A list of texts, or any text as tensors, is a batch of shape (texts, tokens), padded to the longest.
        """
        return self.tokenizer(
            text, truncation=True, padding=not isinstance(text, str), return_tensors=return_tensors
        )

    def __call__(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        """Call ``tokenizer``."""
        return self.tokenizer(*args, **kwargs)

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokenizer)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of ``tokenizer``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.tokenizer, name)
