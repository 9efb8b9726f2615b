import contextlib
import os
import signal
import subprocess
import sys

import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.texts import Record
from ultra_train.data.token_cache.text_encoder import EncoderPool, TextEncoder, in_chunks


def _pieces(encoded):
    ends = encoded.lengths.cumsum()
    return [
        encoded.tokens[end - length : end].tolist() for end, length in zip(ends, encoded.lengths, strict=True)
    ]


def test_short_texts_are_what_the_tokenizer_gives(tokenizer, texts):
    encoded = TextEncoder(tokenizer, 64)([Record(text) for text in texts[:20]])
    assert _pieces(encoded) == tokenizer(texts[:20])["input_ids"]


def test_a_long_text_becomes_windows_that_lose_nothing(tokenizer, texts):
    encoder = TextEncoder(tokenizer, 16)
    encoded = encoder([Record(texts[-1]), Record(texts[0])])
    *windows, short = _pieces(encoded)
    assert len(windows) > 10
    assert all(len(window) == 16 for window in windows[:-1])
    for window in windows:
        assert window[0] == tokenizer.cls_token_id
        assert window[-1] == tokenizer.sep_token_id
    assert [token for window in windows for token in window[1:-1]] == tokenizer(
        texts[-1], add_special_tokens=False
    )["input_ids"]
    assert len(set(encoded.groups[:-1].tolist())) == 1
    assert encoded.groups[-1] != encoded.groups[0]
    assert tokenizer(texts[0])["input_ids"] == short


def test_the_tokenizers_own_truncation_does_not_act(tokenizer, texts):
    tokenizer.backend_tokenizer.enable_truncation(4)
    try:
        assert len(TextEncoder(tokenizer, 64)([Record(texts[0])]).tokens) > 4
    finally:
        tokenizer.backend_tokenizer.no_truncation()


def test_no_room_for_text_is_an_error(tokenizer):
    with pytest.raises(DataError, match="max_length is 2, but the special tokens alone take 2"):
        TextEncoder(tokenizer, 2)


def test_processes_give_what_one_process_gives(tokenizer, texts):
    encoder = TextEncoder(tokenizer, 32)
    stream = [Record(text) for text in texts]
    alone = list(EncoderPool(encoder, 1).encode_chunks(in_chunks(stream, 50)))
    with EncoderPool(encoder, 2) as pool:
        together = list(pool.encode_chunks(in_chunks(stream, 50)))
    assert len(alone) == len(together) == 6
    for one, two in zip(alone, together, strict=True):
        assert one.tokens.tolist() == two.tokens.tolist()
        assert one.lengths.tolist() == two.lengths.tolist()
        assert one.groups.tolist() == two.groups.tolist()


def test_only_a_bounded_part_of_the_stream_is_read_ahead(tokenizer):
    read = 0

    def stream():
        nonlocal read
        for number in range(1000):
            read += 1
            yield Record(f"texto {number}")

    with EncoderPool(TextEncoder(tokenizer, 32), 2) as pool:
        chunks = pool.encode_chunks(in_chunks(stream(), 10))
        next(chunks)
        assert read <= 60
        chunks.close()


KILLED = """
import os, sys, time
from ultra_train.data.sources.texts import Record
from ultra_train.data.token_cache import text_encoder

class Busy:
    def __call__(self, chunk):
        print(os.getpid(), flush=True)
        time.sleep(0.01)

for _ in text_encoder.EncoderPool(Busy(), 2).encode_chunks([Record("texto")] for _ in range(10**6)):
    pass
"""


def test_processes_end_with_the_one_that_started_them():
    parent = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    parent.kill()
    try:
        parent.communicate(timeout=60)  # ends when the last process that holds the pipe does
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
