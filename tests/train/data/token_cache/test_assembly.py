import os
import shutil
import signal

import pytest

from support.ranks import on_ranks
from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.token_cache import assembly, claims, shared_encoding
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.text_encoder import TextEncoder


def _prepared(corpus, tokenizer, cache, processes, **options):
    options = {"max_length": 64, "documents_per_chunk": 20, **options}
    return prepare(read_sources(str(corpus)), tokenizer, cache_dir=cache, processes=processes, **options)[0]


def _facts(shards):
    return (
        shards.fingerprint,
        [shards.document(index).tolist() for index in range(len(shards))],
        shards.counts,
    )


def _counted(corpus, tokenizer, cache):
    encoded = 0
    whole = TextEncoder.__call__

    def counting(self, records):
        nonlocal encoded
        encoded += len(records)
        return whole(self, records)

    TextEncoder.__call__ = counting
    return _facts(_prepared(corpus, tokenizer, cache, 2)), encoded


def test_two_processes_make_the_build_of_one_and_tokenise_each_text_once(corpus, texts, tokenizer, tmp_path):
    (first, one), (second, other) = on_ranks(2, _counted, corpus, tokenizer, tmp_path / "two", group=False)
    assert first == second == _facts(_prepared(corpus, tokenizer, tmp_path / "one", 1))
    assert one + other == len(texts)
    assert [path.name[:7] for path in (tmp_path / "two").iterdir()] == ["tokens-"]


def test_the_chunks_of_a_process_that_died_are_made_by_another(corpus, tokenizer, tmp_path, monkeypatch):
    pid = os.fork()
    if not pid:
        shared_encoding.SharedEncoding._write = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
        assembly.ASSEMBLY = "nobody"
        monkeypatch.setattr(claims.Claims, "take", lambda self, name, take=claims.Claims.take: (
            name.startswith("chunk") and take(self, name)
        ))  # fmt: skip
        monkeypatch.setattr(claims.Claims, "is_taken", lambda self, name, of=claims.Claims.is_taken: (
            name == "nobody" or of(self, name)
        ))  # fmt: skip
        _prepared(corpus, tokenizer, tmp_path / "two", 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert list((tmp_path / "two").rglob("chunk-*.claim"))
    found = _facts(_prepared(corpus, tokenizer, tmp_path / "two", 2))
    assert found == _facts(_prepared(corpus, tokenizer, tmp_path / "one", 1))


def test_a_process_that_comes_when_the_others_have_just_finished_uses_their_build(
    corpus, tokenizer, tmp_path, monkeypatch
):
    made = []

    def late(self, name, take=claims.Claims.take):
        if not made:
            made.append(_facts(_prepared(corpus, tokenizer, tmp_path, 1)))
            shutil.rmtree(self._folder)
        return take(self, name)

    monkeypatch.setattr(claims.Claims, "take", late)
    assert _facts(_prepared(corpus, tokenizer, tmp_path, 2)) == made[0]
    assert not list(tmp_path.glob(".tokens-*"))


def _fails(corpus, tokenizer, cache):
    with pytest.raises(DataError, match=r"corpus.txt:296: holds a zero byte"):
        _prepared(corpus, tokenizer, cache, 2)


def test_a_bad_row_is_an_error_of_every_process(corpus, tokenizer, tmp_path):
    with corpus.open("a") as file:
        file.write("\na\0b")
    on_ranks(2, _fails, corpus, tokenizer, tmp_path / "two", group=False)
    _fails(corpus, tokenizer, tmp_path / "one")
