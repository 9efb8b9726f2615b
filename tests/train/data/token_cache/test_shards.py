import pickle

import numpy as np
import pytest

from ultra_train.data.sources.data_source import DataSource, read_sources
from ultra_train.data.token_cache.build import prepare


@pytest.fixture
def parts(corpus, tokenizer, tmp_path):
    return prepare(read_sources(str(corpus)), tokenizer, max_length=32, cache_dir=tmp_path / "cache")


def test_gather_is_the_documents_end_to_end(parts):
    train, _ = parts
    indices = np.array([3, 0, 3, len(train) - 1])
    flat, lengths = train.gather(indices)
    assert lengths.tolist() == [len(train.document(index)) for index in indices]
    assert flat.tolist() == [token for index in indices for token in train.document(index).tolist()]
    assert flat.dtype == np.int64
    empty, none = train.gather(np.array([], dtype=np.int64))
    assert len(empty) == len(none) == 0


def test_a_document_out_of_range_is_an_index_error(parts):
    with pytest.raises(IndexError):
        parts[0].document(len(parts[0]))


def test_shards_travel_to_other_processes_as_paths(parts):
    train, _ = parts
    copy = pickle.loads(pickle.dumps(train))
    assert np.array_equal(copy.lengths, train.lengths)
    assert np.array_equal(copy.document(7), train.document(7))


def test_no_window_of_a_text_is_apart_from_the_others(parts, texts, tokenizer):
    long = set(tokenizer(texts[-1], add_special_tokens=False)["input_ids"][:30])
    windows = [sum(length == 32 for length in part.lengths) for part in parts]
    assert long
    assert 0 in windows


def test_templates_are_not_in_both_parts(tokenizer, command_cache):
    from ultra_train.data.es_commands import sentences

    train, evaluation = prepare(
        [DataSource("ultra:es-commands")],
        tokenizer,
        max_length=64,
        cache_dir=command_cache,
        eval_fraction=0.1,
    )
    template_of = {}
    for sentence in sentences("es", cache_dir=command_cache):
        template_of[tuple(tokenizer(sentence.text)["input_ids"])] = sentence.template
    seen = [
        {template_of[tuple(part.document(index))] for index in range(len(part))}
        for part in (train, evaluation)
    ]
    assert len(seen[0]) > 200
    assert len(seen[1]) > 10
    assert not seen[0] & seen[1]


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0)), (2, (1, 1))])
def test_chance_leaves_no_part_empty(count, expected, tokenizer, tmp_path):
    path = tmp_path / "few.txt"
    path.write_text("\n".join(f"texto {number}" for number in range(count)), encoding="utf-8")
    parts = prepare(
        [DataSource(str(path))], tokenizer, max_length=16, cache_dir=tmp_path, eval_fraction=0.001
    )
    assert tuple(map(len, parts)) == expected


def test_weights_stand_beside_their_documents(corpus, tokenizer, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("una frase nueva\notra frase nueva\n", encoding="utf-8")
    sources = read_sources([str(corpus), {"source": str(other), "weight": 2.5}])
    train, _ = prepare(sources, tokenizer, max_length=32, cache_dir=tmp_path / "cache", eval_fraction=0)
    assert train.weights is not None
    assert train.weights.tolist() == [1.0] * (len(train) - 2) + [2.5, 2.5]
