from itertools import pairwise

import numpy as np
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.sources.texts import Record
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.cutting import Cutting
from ultra_train.data.token_cache.text_encoder import TextEncoder


def _documents(shards):
    return [shards.document(index).tolist() for index in range(len(shards))]


def _prepared(corpus, tokenizer, folder, cutting, **options):
    options = {"eval_fraction": 0.0, **options}
    return prepare(read_sources(str(corpus)), tokenizer, cutting=cutting, cache_dir=folder, **options)


def test_parts_of_a_long_text_overlap(tokenizer, texts):
    encoder = TextEncoder(tokenizer, 16, overlap=4)
    encoded = encoder([Record(texts[-1]), Record(texts[0])])
    ends = encoded.lengths.cumsum()
    *parts, _ = [
        encoded.tokens[e - n + 1 : e - 1].tolist() for e, n in zip(ends, encoded.lengths, strict=True)
    ]
    assert encoded.split == 1
    assert all(one[-4:] == two[:4] for one, two in pairwise(parts))
    whole = parts[0] + [token for part in parts[1:] for token in part[4:]]
    assert whole == tokenizer(texts[-1], add_special_tokens=False)["input_ids"]
    with pytest.raises(DataError, match=r"overlap_tokens is 14.*room for 14"):
        TextEncoder(tokenizer, 16, overlap=14)


def test_texts_are_joined_to_one_length_and_a_short_rest_is_dropped(corpus, texts, tokenizer, tmp_path):
    flat = [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    rest = len(flat) % 30
    assert rest
    for shortest, kept in ((rest, True), (rest + 1, False)):
        cutting = Cutting(max_length=32, join_length=32, join_shortest=shortest)
        train, _ = _prepared(corpus, tokenizer, tmp_path / "cache", cutting, documents_per_chunk=70)
        wanted = [[cls, *flat[begin : begin + 30], sep] for begin in range(0, len(flat), 30)]
        assert _documents(train) == (wanted if kept else wanted[:-1])
        assert train.counts[0].texts == len(texts)


def test_no_text_is_joined_into_both_parts(corpus, texts, tokenizer, tmp_path):
    cutting = Cutting(max_length=16, join_length=16, join_shortest=1)
    train, held_out = _prepared(corpus, tokenizer, tmp_path / "cache", cutting, eval_fraction=0.2, seed=5)
    plain = Cutting(max_length=512)
    train_texts, held_out_texts = _prepared(
        corpus, tokenizer, tmp_path / "c", plain, eval_fraction=0.2, seed=5
    )
    for joined, single in ((train, train_texts), (held_out, held_out_texts)):
        inside = [token for document in _documents(joined) for token in document[1:-1]]
        assert inside == [token for document in _documents(single) for token in document[1:-1]]
    assert np.unique(train.lengths[:-1]).tolist() == [16]
