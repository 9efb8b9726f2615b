"""The encoder as transformers models; importing this package registers them with the Auto classes."""

from ultra_blocks.hf.config import MissingExtraError, UltraHFConfig
from ultra_blocks.hf.masked_lm import SpanishMoEBERT, UltraForMaskedLM
from ultra_blocks.hf.models import UltraModel, UltraPreTrainedModel
from ultra_blocks.hf.multiple_choice import UltraForMultipleChoice
from ultra_blocks.hf.question_answering import UltraForQuestionAnswering
from ultra_blocks.hf.sequence_classification import UltraForSequenceClassification
from ultra_blocks.hf.token_classification import UltraForTokenClassification

__all__ = [
    "MissingExtraError",
    "SpanishMoEBERT",
    "UltraForMaskedLM",
    "UltraForMultipleChoice",
    "UltraForQuestionAnswering",
    "UltraForSequenceClassification",
    "UltraForTokenClassification",
    "UltraHFConfig",
    "UltraModel",
    "UltraPreTrainedModel",
]
