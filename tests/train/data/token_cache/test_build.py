import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import DataSource, read_sources
from ultra_train.data.token_cache import assembly, cache_folders, writer
from ultra_train.data.token_cache.build import prepare
from ultra_train.system.disk_space import DiskSpace


def _all(shards):
    return [shards.document(index).tolist() for index in range(len(shards))]


def _builds(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_text_is_in_one_part_once(corpus, tokenizer, texts, tmp_path):
    train, evaluation = prepare(
        read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "cache", eval_fraction=0.2
    )
    wanted = sorted(tokenizer(texts[:-1])["input_ids"])
    found = [ids for ids in _all(train) + _all(evaluation) if ids in wanted]
    assert sorted(found) == wanted
    assert 0.1 < len(evaluation) / (len(train) + len(evaluation)) < 0.3
    assert train.num_tokens == sum(map(len, _all(train)))


def test_an_unchanged_build_is_reused_and_a_changed_one_is_not(corpus, tokenizer, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    sources = read_sources(str(corpus))
    train, _ = prepare(sources, tokenizer, max_length=64, cache_dir=cache)
    monkeypatch.setattr(assembly, "EncoderPool", lambda *args: pytest.fail("tokenised again"))
    again, _ = prepare(sources, tokenizer, max_length=64, cache_dir=cache)
    assert again.fingerprint == train.fingerprint
    other_seed, _ = prepare(sources, tokenizer, max_length=64, cache_dir=cache, seed=1, eval_fraction=0.3)
    assert other_seed.fingerprint != train.fingerprint
    monkeypatch.undo()
    corpus.write_text(corpus.read_text(encoding="utf-8") + "\nuna frase más", encoding="utf-8")
    more, _ = prepare(sources, tokenizer, max_length=64, cache_dir=cache)
    assert more.fingerprint != train.fingerprint
    prepare(sources, tokenizer, max_length=32, cache_dir=cache)
    assert len(_builds(cache)) == 3


def test_a_touched_file_is_still_the_same_data(corpus, tokenizer, tmp_path):
    first, _ = prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "cache")
    os.utime(corpus, (1, 1))
    second, _ = prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "cache")
    assert first.directory != second.directory
    assert first.fingerprint == second.fingerprint


def test_workers_chunks_and_shards_do_not_change_the_documents(corpus, tokenizer, tmp_path, monkeypatch):
    sources = read_sources(str(corpus))
    one, _ = prepare(sources, tokenizer, max_length=32, cache_dir=tmp_path / "one")
    monkeypatch.setattr(writer, "_TOKENS_A_SHARD", 500)
    two, _ = prepare(
        sources, tokenizer, max_length=32, cache_dir=tmp_path / "two", num_workers=2, documents_per_chunk=40
    )
    assert len(list(two.directory.glob("*.arrow"))) > 3
    assert _all(one) == _all(two)
    order = np.array([5, 200, 5, 0, 100])
    assert np.array_equal(one.gather(order)[0], two.gather(order)[0])


def test_max_documents_counts_texts_over_all_sources(corpus, tokenizer, tmp_path):
    sources = read_sources([str(corpus), str(corpus)])
    seen = []
    train, _ = prepare(
        sources,
        tokenizer,
        max_length=64,
        cache_dir=tmp_path / "cache",
        max_documents=100,
        eval_fraction=0,
        progress=lambda documents, tokens: seen.append((documents, tokens)),
    )
    assert len(train) == 100
    assert seen[-1] == (100, train.num_tokens)


def test_texts_without_a_token_are_an_error(tokenizer, tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text("\u200b\u200b\n\x01\n", encoding="utf-8")
    with pytest.raises(DataError, match="no usable text"):
        prepare([DataSource(str(path))], tokenizer, max_length=16, cache_dir=tmp_path / "cache")
    assert _builds(tmp_path / "cache") == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_an_impossible_eval_fraction_is_an_error(fraction, tokenizer, tmp_path, corpus):
    with pytest.raises(DataError, match="eval_fraction"):
        prepare(
            [DataSource(str(corpus))], tokenizer, max_length=16, cache_dir=tmp_path, eval_fraction=fraction
        )


def test_a_full_disk_is_explained_and_leaves_nothing(corpus, tokenizer, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(DataError, match=r"the disk is full.*cache_dir"):
        prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "cache")
    assert _builds(tmp_path / "cache") == []
    monkeypatch.undo()
    train, _ = prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "cache")
    assert len(train) > 0


def test_a_really_full_disk(tokenizer, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        path = tmp_path / "long.txt"
        path.write_text("abre la puerta de la cocina\n" * 20_000, encoding="utf-8")
        with pytest.raises(DataError, match="the disk is full"):
            prepare([DataSource(str(path))], tokenizer, max_length=64, cache_dir=disk / "cache")
        assert _builds(disk / "cache") == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_explained(corpus, tokenizer, tmp_path):
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be written"):
        prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "cache")


def test_a_build_that_lost_a_part_is_built_again(corpus, tokenizer, tmp_path):
    sources = read_sources(str(corpus))
    train, _ = prepare(sources, tokenizer, max_length=64, cache_dir=tmp_path / "cache")
    expected = _all(train)
    shard = next(train.directory.glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-10])
    again, _ = prepare(sources, tokenizer, max_length=64, cache_dir=tmp_path / "cache")
    assert _all(again) == expected


_KILLED = """
    import sys, time
    from ultra_train.data.token_cache import build, text_encoder, writer
    from ultra_train.data.sources.data_source import read_sources
    from ultra_train.tokenizer.loading import load_tokenizer

    corpus, tokenizer, cache = sys.argv[1:]
    writer._TOKENS_A_SHARD = 100
    encode_chunks = text_encoder.EncoderPool.encode_chunks

    def slow(*args):
        yield from encode_chunks(*args)
        print("written", flush=True)
        time.sleep(600)

    text_encoder.EncoderPool.encode_chunks = slow
    build.prepare(read_sources(corpus), load_tokenizer(tokenizer), max_length=64, cache_dir=cache)
"""


def test_a_killed_build_is_not_mistaken_for_one_and_is_cleared(corpus, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    cache = tmp_path / "cache"
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(_KILLED),
        str(corpus),
        str(tmp_path / "tokenizer"),
        str(cache),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    (left,) = _builds(cache)
    assert left.startswith(".tokens-")
    assert list((cache / left).glob("*.arrow"))
    train, _ = prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=cache)
    assert _builds(cache) == [train.directory.name]
    clean, _ = prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path / "clean")
    assert _all(train) == _all(clean)


def test_an_unfinished_build_of_a_living_process_is_left_alone(corpus, tokenizer, tmp_path):
    train, _ = prepare(read_sources(str(corpus)), tokenizer, max_length=64, cache_dir=tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        working = train.directory.with_name(f"{cache_folders._prefix(train.directory)}{other.pid}.0123abcd")
        working.mkdir()
        cache_folders.remove_leftovers(train.directory)
        assert working.exists()
        other.kill()
    time.sleep(0.05)
    cache_folders.remove_leftovers(train.directory)
    assert not working.exists()


def test_a_full_disk_pauses_the_build_which_then_goes_on(corpus, tokenizer, tmp_path, monkeypatch):
    attempts, said, fsync = [], [], os.fsync

    def full_twice(descriptor):
        attempts.append(descriptor)
        if len(attempts) <= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(writer.os, "fsync", full_twice)
    seconds = iter(range(0, 10**6, 61))
    disk = DiskSpace(said.append, sleep=lambda _: None, clock=lambda: next(seconds))
    sources = read_sources(str(corpus))
    train, _ = prepare(sources, tokenizer, max_length=64, cache_dir=tmp_path / "cache", disk=disk)
    assert said[0].startswith("paused")
    assert "tokenised texts cannot be written: the disk or the quota is full" in said[0]
    assert said[-1].startswith("there is room again")
    assert _all(train) == _all(prepare(sources, tokenizer, max_length=64, cache_dir=tmp_path / "other")[0])
