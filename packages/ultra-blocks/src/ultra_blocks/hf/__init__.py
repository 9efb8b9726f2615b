"""The encoder as transformers models; importing this package registers them with the Auto classes."""

from ultra_blocks.hf.config import MissingExtraError, UltraHFConfig
from ultra_blocks.hf.masked_lm import SpanishMoEBERT, UltraForMaskedLM
from ultra_blocks.hf.models import UltraModel, UltraPreTrainedModel
from ultra_blocks.hf.sequence_classification import UltraForSequenceClassification

__all__ = [
    "MissingExtraError",
    "SpanishMoEBERT",
    "UltraForMaskedLM",
    "UltraForSequenceClassification",
    "UltraHFConfig",
    "UltraModel",
    "UltraPreTrainedModel",
]
