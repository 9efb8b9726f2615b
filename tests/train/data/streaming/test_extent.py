import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.place import Place
from ultra_train.data.streaming.extent import Extent, text_bytes


def test_shares_follow_the_bytes_of_a_text_file_and_the_rows_of_a_parquet_file(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 100)
    pq.write_table(pa.table({"text": ["hola"] * 10}), tmp_path / "b.parquet")
    one = Extent(DataSource(str(tmp_path / "a.txt")))
    assert one.bytes == 100
    assert [one.share(Place(*at)) for at in ((), (0, 25), (1,), (0, 25, 0, 1))] == [0, 0.25, 1, 1]
    both = Extent(DataSource(str(tmp_path)))
    rest = both.bytes - 100
    assert both.share(Place(1, 5)) == pytest.approx((100 + rest / 2) / both.bytes)


def test_compressed_texts_count_for_more_and_embedded_ones_for_something(tmp_path):
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write("hola\n" * 1000)
    size = (tmp_path / "a.txt.gz").stat().st_size
    assert text_bytes([DataSource(str(tmp_path / "a.txt.gz"))]) == 3 * size
    embedded = Extent(DataSource("ultra:es-commands"))
    assert 0 < embedded.share(Place(0, 100)) < embedded.share(Place(0, 200)) < 1


def test_a_part_of_a_split_and_an_offline_hub_are_not_streamed(monkeypatch):
    assert text_bytes([DataSource("owner/name", split="train[:1%]")]) is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert text_bytes([DataSource("owner/name")]) is None
