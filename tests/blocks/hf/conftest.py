import pytest
import transformers


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture
def words():
    """A tokenizer of the words a to h."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]", sep_token="[SEP]",
        model_max_length=32, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
