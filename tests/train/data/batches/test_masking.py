import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.batches.masking import IGNORED, MLMCollator
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.token_cache.build import prepare


@pytest.fixture(scope="module")
def shards(texts, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    (folder / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    return prepare(
        read_sources(str(folder / "corpus.txt")), tokenizer, max_length=32, cache_dir=folder, eval_fraction=0
    )[0]


def _by_document(plan, collator, epoch=0):
    """Return {draw: (inputs, labels)} of an epoch, cut out of the rows."""
    found = {}
    for index in range(plan.batches(epoch)):
        planned = plan.batch(epoch, index)
        batch = collator(planned)
        filled = dict.fromkeys(range(planned.num_rows), 0)
        for draw, row in zip(planned.draws, planned.rows, strict=True):
            length = collator.shards.lengths[draw % len(collator.shards)]
            here = slice(filled[row], filled[row] + length)
            filled[row] += length
            found[int(draw)] = (batch["input_ids"][row, here].tolist(), batch["labels"][row, here].tolist())
    return found


def test_masks_do_not_depend_on_the_batches(shards, tokenizer):
    collator = MLMCollator(shards, tokenizer, seed=5)
    small = BatchPlan(shards, batch_size=2, max_length=32, seed=1)
    large = BatchPlan(shards, batch_size=16, max_length=32, seed=2)
    rows = BatchPlan(shards, batch_size=4, max_length=32, mode="packed")
    expected = _by_document(small, collator)
    assert _by_document(large, collator) == expected
    assert _by_document(rows, collator) == expected
    assert _by_document(small, collator, epoch=1) != expected
    assert _by_document(small, MLMCollator(shards, tokenizer, seed=6)) != expected


@pytest.mark.parametrize("policy", ["token", "whole_word"])
def test_labels_are_the_original_tokens_and_specials_are_never_masked(shards, tokenizer, policy):
    collator = MLMCollator(shards, tokenizer, policy=policy)
    for draw, (inputs, labels) in _by_document(
        BatchPlan(shards, batch_size=4, max_length=32), collator
    ).items():
        original = shards.document(draw)
        chosen = np.array(labels) != IGNORED
        assert chosen.any()
        assert not (chosen & np.isin(original, tokenizer.all_special_ids)).any()
        assert (np.array(labels)[chosen] == original[chosen]).all()
        assert (np.array(inputs)[~chosen] == original[~chosen]).all()


def test_padding_and_documents_are_marked(shards, tokenizer):
    collator = MLMCollator(shards, tokenizer, widths=(8, 16, 24, 32, 40))
    packed = BatchPlan(shards, batch_size=3, max_length=32, mode="packed")
    for index in range(packed.batches(0)):
        batch = collator(packed.batch(0, index))
        assert batch["input_ids"].shape[1] == 32
        padding = batch["document_ids"] == -1
        assert ((batch["input_ids"] == tokenizer.pad_token_id) == padding).all()
        assert (batch["labels"][padding] == IGNORED).all()
        if padding.any():
            assert (batch["attention_mask"] == (~padding).long()).all()
        else:
            assert "attention_mask" not in batch
        for row in batch["document_ids"]:
            real = row[row >= 0]
            assert real[0] == 0
            assert set((real[1:] - real[:-1]).tolist()) <= {0, 1}
        assert (batch["input_ids"][batch["document_ids"] == 0][:1] == tokenizer.cls_token_id).all()
    lengths = BatchPlan(shards, batch_size=3, max_length=32)
    batch = collator(lengths.batch(0, 0))
    assert "document_ids" not in batch
    assert batch["input_ids"].shape[1] % 8 == 0
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def _masked(shards, tokenizer, lengths, *, epoch=0, tokens=None, **options):
    collator = MLMCollator(shards, tokenizer, **options)
    lengths = np.asarray(lengths, dtype=np.int32)
    if tokens is None:
        tokens = np.random.default_rng(0).integers(270, 399, lengths.sum())
    return (tokens, *collator.mask(np.asarray(tokens), lengths, np.arange(len(lengths)), epoch))


@pytest.mark.parametrize("probability", [0.05, 0.15, 0.4])
def test_rates_are_those_asked_for(shards, tokenizer, probability):
    tokens, inputs, labels = _masked(shards, tokenizer, [500] * 200, mlm_probability=probability)
    chosen = labels != IGNORED
    count = chosen.sum()
    assert abs(chosen.mean() - probability) < 4 * np.sqrt(probability / len(tokens))
    masked = (inputs[chosen] == tokenizer.mask_token_id).mean()
    kept = (inputs[chosen] == tokens[chosen]).mean()
    assert abs(masked - 0.8) < 4 * np.sqrt(0.16 / count)
    assert abs(kept - 0.1) < 4 * np.sqrt(0.09 / count) + 0.005
    assert not np.isin(inputs, np.setdiff1d(tokenizer.all_special_ids, [tokenizer.mask_token_id])).any()


def test_positions_documents_and_epochs_are_independent(shards, tokenizer):
    lengths = [200] * 200
    first = _masked(shards, tokenizer, lengths)[2].reshape(200, 200) != IGNORED
    later = _masked(shards, tokenizer, lengths, epoch=1)[2].reshape(200, 200) != IGNORED
    for other in (later, np.roll(first, 1, axis=0), np.roll(first, 1, axis=1)):
        assert abs((first & other).mean() - 0.15**2) < 0.004
    assert abs(first.mean(axis=0) - 0.15).max() < 0.12


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.floats(1e-6, 0.999), st.integers(0, 2**40))
def test_every_document_has_a_target_and_no_special_is_one(shards, tokenizer, lengths, probability, seed):
    random = np.random.default_rng(seed)
    tokens = random.integers(0, len(tokenizer), sum(lengths))
    _, inputs, labels = _masked(
        shards, tokenizer, lengths, tokens=tokens, mlm_probability=probability, seed=seed, epoch=seed % 7
    )
    special = np.isin(tokens, tokenizer.all_special_ids)
    chosen = labels != IGNORED
    assert not (chosen & special).any()
    assert (inputs[special] == tokens[special]).all()
    for part, kinds in zip(
        np.split(chosen, np.cumsum(lengths)[:-1]), np.split(special, np.cumsum(lengths)[:-1]), strict=True
    ):
        assert part.any() == (not kinds.all())


def test_whole_words_are_chosen_together(shards, tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    starts = np.array([piece.startswith("▁") for piece in pieces])
    chosen_words = 0
    for draw in range(100):
        tokens = shards.document(draw)
        collator = MLMCollator(shards, tokenizer, policy="whole_word", mlm_probability=0.3)
        _, labels = collator.mask(tokens, np.array([len(tokens)], dtype=np.int32), np.array([draw]), 0)
        word = np.cumsum(starts[tokens])
        inside = ~np.isin(tokens, tokenizer.all_special_ids)
        for number in np.unique(word[inside]):
            flags = (labels != IGNORED)[inside & (word == number)]
            assert flags.all() or not flags.any()
            chosen_words += flags.all()
    assert chosen_words > 100


def test_faults(shards, tokenizer):
    for options in (
        {"mlm_probability": 0.0},
        {"mlm_probability": 1.0},
        {"mask_rate": 0.9, "random_rate": 0.2},
    ):
        with pytest.raises(DataError):
            MLMCollator(shards, tokenizer, **options)
