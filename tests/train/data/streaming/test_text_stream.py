from pathlib import Path

import pytest

from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.streaming import text_stream
from ultra_train.data.streaming.text_stream import Texts, TextStream


@pytest.fixture
def texts(tmp_path):
    """Three sources with 600, 300 and 100 texts of one length."""
    sources = []
    for name, count in (("a", 600), ("b", 300), ("c", 100)):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name}{n:03d}\n" for n in range(count)))
        sources.append(DataSource(str(tmp_path / f"{name}.txt")))
    return Texts(tuple(sources), Path(tmp_path), "error", print)


def _windows(texts, cursor=(), size=100):
    stream, found, last = TextStream(texts, cursor), [], False
    while not last:
        window = [record.text for _, record in stream.take(size)]
        end, last, counts = stream.taken()
        found.append((window, end, [c.texts for c in counts]))
    return found


def test_every_window_has_texts_of_all_sources_in_proportion(texts):
    windows = _windows(texts)
    whole = [text for window, _, _ in windows for text in window]
    assert len(whole) == len(set(whole)) == 1000
    assert [len(window) for window, _, _ in windows[:10]] == [100] * 10
    for _, _, counts in windows[:10]:
        assert counts == pytest.approx([60, 30, 10], abs=4)
    for name in "abc":
        assert [text for text in whole if text[0] == name] == sorted(t for t in whole if t[0] == name)


def test_a_stream_goes_on_at_every_cursor(texts):
    windows = _windows(texts, size=70)
    for number, (_, end, _) in enumerate(windows[:-1], start=1):
        assert _windows(texts, end, 70) == windows[number:]


def test_few_files_are_open_at_a_time(texts, monkeypatch):
    whole = _windows(texts)
    monkeypatch.setattr(text_stream, "_OPEN", 1)
    assert _windows(texts) == whole
