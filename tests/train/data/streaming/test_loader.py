from itertools import islice

import attrs
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.hub_files import hub_files
from ultra_train.data.token_cache.text_encoder import TextEncoder


def _endless(loader):
    while True:
        yield from loader


def _take(loader, count):
    return [
        {name: tensor.tolist() for name, tensor in batch.items()} for batch in islice(_endless(loader), count)
    ]


def _resumed(make_loader, parts, **options):
    """Return what a loader yields that is made anew, at the position of the one before, for every part."""
    found, state = [], None
    for count in parts:
        loader = make_loader(**options)
        if state is not None:
            loader.load_state_dict(state)
        found += _take(loader, count)
        state = loader.state_dict()
    return found


def _documents(batches, tokenizer):
    found = []
    for batch in batches:
        for row, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            original = [t if label < 0 else label for t, label in zip(row, labels, strict=True)]
            found.append(tuple(t for t in original if t != tokenizer.pad_token_id))
    return found


def _epoch(loader):
    return [{name: tensor.tolist() for name, tensor in batch.items()} for batch in loader]


def test_an_epoch_has_every_document_that_is_not_held_out_once(make_loader, tokenizer, texts):
    loader = make_loader()
    found = sorted(_documents(_epoch(loader), tokenizer))
    stream = loader.stream
    wanted, held_out = [], 0
    for number in range(8):
        train, out = stream.folder.open(number, stream.split)
        wanted += [tuple(train.document(index).tolist()) for index in range(len(train))]
        held_out += len(out)
    assert found == sorted(wanted)
    every = sum(map(len, [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]))
    inside = sum(len(document) - 2 for document in found)
    assert 0 < held_out < 60
    assert 0.8 * every < inside < every
    counts = stream.folder.counts()
    assert [c.texts for c in counts] == [60, 60, 60, 60, 55]
    assert [c.blank for c in counts] == [1, 0, 0, 1, 0]
    assert len(loader) == sum(loader.positions.known(0))
    assert (loader.epoch, loader.texts) == (1, len(texts))


def test_documents_are_shuffled_within_their_window_and_anew_in_every_epoch(make_loader, tokenizer):
    loader = make_loader()
    first = _epoch(loader)
    second = _take(loader, len(first))
    assert first != second
    assert sorted(_documents(first, tokenizer)) == sorted(_documents(second, tokenizer))
    plan = loader.plan.of(0)
    assert sum(len(plan.batch(0, index).draws) for index in range(plan.batches(0))) == len(plan.shards)


@pytest.mark.parametrize("budget", [10**9, 1])
def test_three_interruptions_change_no_batch(make_loader, budget):
    whole = _take(make_loader("whole"), 130)  # more than an epoch
    assert _resumed(make_loader, [17, 40, 1, 72], budget=budget) == whole


def test_windows_beyond_the_budget_are_removed_and_made_again(make_loader):
    loader = make_loader(budget=1)
    _take(loader, 22)
    assert loader.state_dict()["epoch"] == 0
    assert 0 in loader.stream.folder.present()
    current = loader._next.window
    assert current > 3
    assert set(loader.stream.folder.present()) <= {0, current, current + 1, current + 2}


def test_a_lost_record_is_made_anew_with_a_notice(make_loader):
    loader = make_loader("lost", budget=1)
    _take(loader, 22)
    wanted = _take(loader, 1)
    loader = make_loader("lost", budget=1)
    _take(loader, 22)
    state = loader.state_dict()
    for path in loader.stream.folder.directory.glob("*.json"):
        path.unlink()
    said = []
    again = make_loader("lost", budget=1, say=said.append)
    again.load_state_dict(state)
    assert any("has no record of the batches before batch 22" in line for line in said)
    assert _take(again, 1) == wanted


def test_a_resumed_stream_tokenises_one_window_at_most(make_loader, monkeypatch):
    loader = make_loader(budget=1)
    _take(loader, 22)
    state = loader.state_dict()
    encoded, whole = [], TextEncoder.__call__
    monkeypatch.setattr(
        TextEncoder, "__call__", lambda self, records: encoded.extend(records) or whole(self, records)
    )
    again = make_loader(budget=1)
    again.load_state_dict(state)
    _take(again, 1)
    assert len(encoded) <= 40


def test_only_chosen_batches_are_made(make_loader):
    whole = _epoch(make_loader())
    loader = make_loader(workers=1)
    made = list(loader.select(lambda position: position[1] % 3 == 1))
    assert [index for index, batch in enumerate(made) if batch is not None] == list(range(1, len(whole), 3))
    assert [batch["input_ids"].tolist() for batch in made[1::3]] == [b["input_ids"] for b in whole[1::3]]
    assert loader.state_dict()["epoch"] == 1


def test_the_length_of_an_epoch_depends_on_the_position_only(make_loader):
    """A process may know windows ahead that another one does not know yet."""
    ahead, behind = make_loader("ahead"), make_loader("behind")
    last = ahead.stream.folder
    for loader in (ahead, behind):
        _take(loader, 22)
    window = 0
    while not (last.record(window) and last.record(window).last):
        window += 1
        ahead.positions.num_batches(0, window)
    assert ahead.positions.known(0) != behind.positions.known(0)
    assert len(ahead) == len(behind)


def test_weights_show_documents_more_or_less_often(make_loader, sources, tokenizer):
    weighted = [sources[0], attrs.evolve(sources[1], weight=2.0), *sources[2:]]
    one = _documents(_epoch(make_loader("one", eval_fraction=0.0)), tokenizer)
    two = _documents(_epoch(make_loader("two", eval_fraction=0.0, sources=weighted)), tokenizer)
    assert len(one) - len(two) == -60


def test_a_position_of_other_data_is_refused(make_loader):
    state = make_loader().state_dict()
    with pytest.raises(DataError, match=r"belongs to shards 'stream/40/.*the data"):
        make_loader(window=50).load_state_dict(state)
    with pytest.raises(DataError, match=r"damaged: epoch 0, batch 100000"):
        make_loader().load_state_dict({**state, "index": 10**5})
    with pytest.raises(DataError, match=r"damaged: epoch -1"):
        make_loader().load_state_dict({**state, "epoch": -1})


def test_a_data_set_of_the_hub_is_a_source_like_others(make_loader, sources, texts, tmp_path, monkeypatch):
    load, folder = datasets.load_dataset_builder, tmp_path / "served"
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda _, name: load(str(folder), name))
    hub_files.cache_clear()
    folder.mkdir()
    for number in range(3):
        rows = pa.table({"text": [f"{text} {number}" for text in texts[:40]]})
        pq.write_table(rows, folder / f"train-{number:05d}-of-00003.parquet", row_group_size=15)
    both = [DataSource("owner/served"), sources[0]]
    whole = _take(make_loader("whole", sources=both), 70)  # more than an epoch
    assert _resumed(make_loader, [17, 11, 42], sources=both, budget=1) == whole
    counts = make_loader("whole", sources=both).stream.folder.counts()
    assert [c.texts for c in counts] == [120, 60]
    first = make_loader("whole", sources=both).stream.folder.record(0).counts
    assert all(0 < c.texts < 40 for c in first)
    hub_files.cache_clear()


def test_texts_that_changed_after_the_first_window_are_refused(make_loader, sources, tmp_path):
    path = tmp_path / "a.txt"
    lines = [f"texto número {number} de la lista" for number in range(200)]
    path.write_text("\n".join(lines))
    state = make_loader(sources=[DataSource(str(path))]).state_dict()
    path.touch()
    make_loader(sources=[DataSource(str(path))]).load_state_dict(state)
    path.write_text("\n".join([*lines, "otro"]))
    with pytest.raises(DataError, match="the data, the tokenizer"):
        make_loader(sources=[DataSource(str(path))]).load_state_dict(state)


def test_a_stream_whose_texts_fill_its_windows_ends_with_them(make_loader, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"texto número {number} de la lista" for number in range(80)))
    loader = make_loader(sources=[DataSource(str(path))], eval_fraction=0.0)
    assert len(_epoch(loader)) == len(loader)
    assert (loader.epoch, loader.texts) == (1, 80)
    assert _take(loader, 1)


def test_an_interrupt_in_the_middle_of_a_window_spoils_nothing(make_loader, monkeypatch):
    whole = _take(make_loader("whole"), 30)
    loader, encode = make_loader(), TextEncoder.__call__
    found = _take(loader, 3)

    def interrupted(self, records):
        raise KeyboardInterrupt

    monkeypatch.setattr(TextEncoder, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _take(loader, 27)
    monkeypatch.setattr(TextEncoder, "__call__", encode)
    assert whole[: len(found)] == found
    at = loader.state_dict()["index"]
    assert _take(loader, 30 - at) == whole[at:]


def test_small_weights_leave_windows_and_epochs_without_batches(make_loader, sources, tokenizer):
    rare = [attrs.evolve(sources[0], weight=0.02)]
    loader = make_loader(sources=rare, window=20, eval_fraction=0.0)
    found = _documents(_take(loader, 40), tokenizer)
    assert loader.epoch > 5
    assert any(
        not loader.positions.known(epoch)[0] and sum(loader.positions.known(epoch)) for epoch in range(20)
    )
    assert any(not sum(loader.positions.known(epoch)) for epoch in range(20))
    state = loader.state_dict()
    again = make_loader(sources=rare, window=20, eval_fraction=0.0)
    again.load_state_dict(state)
    assert _documents(_take(again, 5), tokenizer) == _documents(_take(loader, 5), tokenizer)
    assert len(set(found)) > 30


def test_damaged_windows_are_made_again(make_loader):
    whole = _epoch(make_loader())
    folder = make_loader().stream.folder
    folder.path(1).with_suffix(".json").write_text("{}")
    (folder.path(2) / "manifest.json").write_text("x")
    shard = folder.path(3) / "shard-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-9])
    (folder.path(4) / "manifest.json").unlink()
    said = []
    assert _epoch(make_loader(say=said.append)) == whole
    assert len([line for line in said if "was renamed to" in line]) == 2
