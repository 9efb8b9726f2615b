"""SentencePiece tokenizers: training, loading, and ``SpanishSPMTokenizer`` as one object."""

from ultra_train.tokenizer.loading import load_tokenizer
from ultra_train.tokenizer.sentencepiece_model import TokenizerError
from ultra_train.tokenizer.spanish import SpanishSPMTokenizer
from ultra_train.tokenizer.training import train_tokenizer

__all__ = ["SpanishSPMTokenizer", "TokenizerError", "load_tokenizer", "train_tokenizer"]
