"""Malformed data files: an error that says where, or skipped and counted; never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.readers import read_file
from ultra_train.data.sources.row_checker import RowChecker

TEXTS = ["abre la puerta", "cierra la ventana", "¿qué hora es? 🙂", "", "baja la persiana del salón"] * 8


def parquet(table: pa.Table, **options: object) -> bytes:
    """Return a table as a Parquet file."""
    written = io.BytesIO()
    pq.write_table(table, written, **options)
    return written.getvalue()


def unchecked(values: list[bytes | None]) -> pa.Array:
    """Return an array of texts that need not be UTF-8."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def good_files() -> dict[str, bytes]:
    """Return a good file of every format, Parquet in several layouts."""
    plain = "\n".join(TEXTS).encode()
    rows = "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(TEXTS)).encode()
    csv = ("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS))).encode()
    table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
    return {
        "a.txt": plain,
        "a.txt.gz": gzip.compress(plain, mtime=0),
        "a.jsonl": rows,
        "a.jsonl.gz": gzip.compress(rows, mtime=0),
        "a.csv": csv,
        "a.csv.gz": gzip.compress(csv, mtime=0),
        "a.tsv": csv.replace(b",", b"\t"),
        "snappy.parquet": parquet(table, row_group_size=10),
        "plain.parquet": parquet(table, compression="none", use_dictionary=False),
        "zstd.parquet": parquet(table, compression="zstd", data_page_version="2.0", row_group_size=16),
        "checked.parquet": parquet(table, compression="gzip", write_page_checksum=True),
        "delta.parquet": parquet(table, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}),
    }


def mutated(content: bytes, draw: Random) -> bytes:
    """Return bytes with one to three changes."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randrange(len(data) + 1), draw.choice([1, 1, 2, 8, 64])
        match draw.randrange(7):
            case 0:
                data[at : at + 1] = bytes(byte ^ 1 << draw.randrange(8) for byte in data[at : at + 1])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = draw.randbytes(length)
            case 4:
                data[at : at + length] = bytes(len(data[at : at + length]))
            case 5:
                data[at:at] = data[at : at + length]
            case _:
                data[at : at + 1] = bytes([draw.randrange(256)]) * len(data[at : at + 1])
    return bytes(data)


def crafted() -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of files that are wrong on purpose."""
    lines = {
        "surrogate": rb'{"text": "a\ud800b"}',
        "surrogates": rb'{"text": "\udfff\ud83d"}',
        "key": rb'{"\ud800": "a"}',
        "deep_list": b"[" * 50_000 + b"]" * 50_000,
        "deep_open": b'{"text": ' + b"[" * 50_000,
        "deep_object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "deep_inside": b'{"text": "a", "b": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "digits": b'{"text": ' + b"9" * 5000 + b"}",
        "digits_elsewhere": b'{"text": "a", "n": -' + b"1" * 5000 + b"}",
        "exponent": b'{"text": 1e999999}',
        "not_a_number": b'{"text": NaN}',
        "number": b'{"text": 3}',
        "list": b'["a"]',
        "object": b'{"text": {"text": "a"}}',
        "true": b'{"text": true}',
        "other": b'{"txt": "a"}',
        "bare": b"text",
        "cut": b'{"text": "a',
        "single": b"{'text': 'a'}",
        "two": b'{"text": "a"} {"text": "b"}',
        "comma": b'{"text": "a",}',
        "control": b'{"text": "a\x01"}',
        "zero": b'{"text": "a\0"}',
        "latin1": '{"text": "salón"}'.encode("latin1"),
        "overlong": b'{"text": "\xc0\xaf"}',
        "utf8_surrogate": b'{"text": "\xed\xa0\x80"}',
        "utf16": '{"text": "a"}'.encode("utf-16"),
        "utf32": '{"text": "a"}'.encode("utf-32"),
        "two_marks": b'\xef\xbb\xbf\xef\xbb\xbf{"text": "a"}',
        "nothing": b"null",
    }
    for name, line in lines.items():
        yield f"{name}.jsonl", b'{"text": "uno"}\n' + line + b"\n" + b'{"text": "dos"}\n'
        yield f"{name}.first.jsonl.gz", gzip.compress(line + b"\n", mtime=0)
    tables = {
        "unclosed": b'text,id\n"a,1\nb,2\n',
        "after_quote": b'text,id\n"a"b,1\n',
        "short": b"id,text\n1\n2,b\n",
        "long": b"text\nhola, mundo\n",
        "zero": b"text\na\0b\nc\n",
        "zeros": bytes(3000),
        "twice": b"text,text\na,b\n",
        "no_header": b"\n\n\n",
        "huge_header": b"x" * 200_000 + b"\na\n",
        "old_mac": b"text,id\ra,1\rb,2\r",
        "latin1": "text\nsalón\n".encode("latin1"),
        "latin1_quoted": 'text\n"uno\nsalón\ndos"\ntres\n'.encode("latin1"),
        "utf16": "text\na\n".encode("utf-16"),
    }
    for name, content in tables.items():
        for ending in ("csv", "csv.gz", "tsv"):
            given = content.replace(b",", b"\t") if ending == "tsv" else content
            yield f"{name}.{ending}", gzip.compress(given, mtime=0) if ending.endswith("gz") else given
    for name, content in {
        "latin1": "uno\nsalón\n".encode("latin1"),
        "utf16": "uno\n".encode("utf-16"),
        "utf16_bare": "uno\n".encode("utf-16-le"),
        "binary": bytes(range(256)) * 40,
        "late_zero": b"hola\n" * 3000 + b"x\0y",
        "surrogate": b"\xed\xa0\x80\n",
        "utf7": b"\xff\n\xfe\n",
    }.items():
        yield f"{name}.txt", content
        yield f"{name}.txt.gz", gzip.compress(content, mtime=0)
    packed = gzip.compress(b"hola mundo\n" * 5000, mtime=0)
    yield "cut.txt.gz", packed[: len(packed) // 2]
    yield "no_trailer.txt.gz", packed[:-8]
    yield "wrong_sum.txt.gz", packed[:-8] + b"\0\0\0\0" + packed[-4:]
    yield "rubbish_after.txt.gz", packed + b"rubbish"
    yield "header_only.txt.gz", packed[:10]
    yield "not_packed.txt.gz", b"hola\n"
    yield "packed_as.txt", packed
    yield from _crafted_parquet()


def _crafted_parquet() -> Iterator[tuple[str, bytes]]:
    broken = unchecked([b"uno", b"\xff\xfe", None, b"dos", b"\xed\xa0\x80"])
    binary = pa.array([b"uno", b"\xff", None], pa.binary())
    columns = {
        "not_utf8": broken,
        "not_utf8_dictionary": pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 3]), unchecked([b"a", b"\xff"] * 2)
        ),
        "binary": binary,
        "fixed": pa.array([b"abcd"], pa.binary(4)),
        "int": pa.array([1, 2]),
        "float": pa.array([float("nan")]),
        "bool": pa.array([True]),
        "null": pa.nulls(3),
        "date": pa.array([0], pa.date32()),
        "time": pa.array([2**62], pa.timestamp("ns", tz="UTC")),
        "decimal": pa.array([1], pa.decimal128(38, 2)),
        "list": pa.array([["a", "b"], None]),
        "struct": pa.array([{"text": "a"}, None]),
        "map": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
        "dictionary_of_int": pa.array([1, 1, 2]).dictionary_encode(),
        "blank": pa.array(["", " ", None]),
        "empty": pa.array([], pa.string()),
    }
    for name, column in columns.items():
        yield f"{name}.parquet", parquet(pa.table({"text": column}))
    yield "large.parquet", parquet(pa.table({"text": broken.cast(pa.binary()).view(pa.binary())}))
    yield "nested.parquet", parquet(pa.table({"a": pa.array([{"text": "a"}])}))
    yield "dotted.parquet", parquet(pa.table({"a.text": ["a"]}))
    yield "other.parquet", parquet(pa.table({"txt": ["a"]}))
    yield "no_columns.parquet", parquet(pa.table({}))
    whole = parquet(pa.table({"text": TEXTS}), row_group_size=10)
    yield "cut.parquet", whole[: len(whole) // 2]
    yield "no_magic.parquet", whole[:-4]
    yield "only_magic.parquet", b"PAR1PAR1"
    yield "huge_footer.parquet", whole[:-8] + b"\xff\xff\xff\x7fPAR1"
    yield "encrypted.parquet", whole[:-4] + b"PARE"
    yield "first_page.parquet", whole[:40] + bytes(40) + whole[80:]
    written = io.BytesIO()
    feather.write_feather(pa.table({"text": TEXTS}), written)
    yield "arrow.parquet", written.getvalue()
    yield "text.parquet", b"hola\n"
    yield "packed.parquet", gzip.compress(whole, mtime=0)


def malformed_files(mutations: int = 18) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content): the crafted files, and as many mutations of each good one as asked for."""
    yield from crafted()
    for name, content in good_files().items():
        for number in range(mutations):
            yield f"{number}.{name}", mutated(content, Random(f"{name}/{number}"))


def _skipped(path: Path) -> tuple[list[str], RowChecker]:
    checker = RowChecker(str(path), "skip")
    return list(read_file(path, checker=checker)), checker


def test_malformed_files_are_an_error_with_a_place_or_are_skipped_and_counted(tmp_path):
    files = list(malformed_files())
    assert len(files) >= 350
    errors = 0
    for name, content in files:
        path = tmp_path / name
        path.write_bytes(content)
        fault = None
        try:
            texts = list(read_file(path))
        except DataError as error:
            fault, texts = str(error), []
        kept, checker = _skipped(path)
        for text in texts + kept:
            text.encode()
        if fault is None:
            assert kept == texts
            assert checker.counts.bad == checker.counts.unreadable == 0
        else:
            errors += 1
            assert checker.counts.bad + checker.counts.unreadable > 0
            assert fault.startswith(checker.counts.faults[0])
            of_file = ":( row group [0-9]+, row [0-9]+:)?" if name.endswith(".parquet") else ":[0-9]+:"
            assert re.match(re.escape(str(path)) + of_file, fault), fault
        path.unlink()
    assert errors > 300


@pytest.mark.parametrize("name", sorted(good_files()))
def test_the_files_that_are_damaged_were_good(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(good_files()[name])
    texts, checker = _skipped(path)
    assert len(texts) == checker.counts.texts == 32
    assert checker.counts.blank == 8
    assert checker.counts.bad == checker.counts.unreadable == 0
