"""Damage of a build: every changed byte of it is noticed, named and mended."""

import json
from random import Random

import numpy as np
import pytest
import xxhash

from ultra_train.data.sources.data_source import read_sources
from ultra_train.data.token_cache import build, manifest
from ultra_train.data.token_cache.build import prepare
from ultra_train.data.token_cache.manifest import MANIFEST, DamagedBuild, check, read_manifest

MUTATIONS = 250


@pytest.fixture
def made(corpus, tokenizer, tmp_path):
    """Make a build, or open the one that is there: ``made()`` returns its training part and what was said."""

    def make():
        said = []
        options = {"max_length": 64, "cache_dir": tmp_path / "cache", "notify": said.append}
        train, _ = prepare(read_sources(str(corpus)), tokenizer, eval_fraction=0, **options)
        return train, said

    return make


def _mutated(content: bytes, draw: Random) -> bytes:
    data = bytearray(content)
    at = draw.randrange(len(data))
    match draw.randrange(5):
        case 0:
            data[at] ^= 1 << draw.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + draw.choice([1, 8, 200])]
        case 3:
            data[at:at] = draw.randbytes(draw.choice([1, 8]))
        case _:
            data[at : at + 8] = bytes(len(data[at : at + 8]))
    return bytes(data)


@pytest.mark.parametrize("name", [MANIFEST, "shard-00000.arrow"])
def test_every_change_of_a_file_is_noticed_and_the_file_is_named(name, made):
    train, _ = made()
    path = train.directory / name
    whole = path.read_bytes()
    noticed = 0
    for number in range(MUTATIONS):
        content = _mutated(whole, Random(f"{name}/{number}"))
        path.write_bytes(content)
        if content == whole or (name == MANIFEST and _says_the_same(content, whole)):
            check(train.directory)
            continue
        noticed += 1
        with pytest.raises(DamagedBuild) as caught:
            check(train.directory)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert noticed > 0.8 * MUTATIONS


def _says_the_same(content, whole):
    try:
        return json.loads(content) == json.loads(whole)
    except ValueError:
        return False


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("name", [MANIFEST, "shard-00000.arrow"])
def test_a_damaged_build_is_made_again(name, number, made):
    train, said = made()
    assert said == []
    expected = train.gather(np.arange(len(train)))[0].tolist()
    path = train.directory / name
    path.write_bytes(_mutated(path.read_bytes(), Random(number)))
    again, said = made()
    assert again.gather(np.arange(len(again)))[0].tolist() == expected
    assert again.fingerprint == train.fingerprint
    if said:
        assert said[0].startswith(f"notice: token cache: {path}: ")
        assert said[0].endswith("; the texts are tokenised again")
    assert made()[1] == []


def test_one_flipped_bit_of_a_token_is_noticed(made):
    train, _ = made()
    path = train.directory / "shard-00000.arrow"
    content = bytearray(path.read_bytes())
    values = np.asarray(train._tokens[0][:50]).tobytes()
    content[content.index(values) + 20] ^= 1
    path.write_bytes(content)
    again, (line,) = made()
    assert "shard-00000.arrow: is damaged (its checksum" in line
    assert again.document(0).tolist() == train.document(0).tolist()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 1),
        ("max_length", "64"),
        ("content", 7),
        ("shards", []),
        ("shards", {}),
        ("shards", [3]),
        ("shards", [{"file": "../../secret", "documents": 1, "bytes": 1, "checksum": ""}]),
        ("shards", [{"file": "shard-00000.arrow", "documents": True, "bytes": 1, "checksum": ""}]),
        ("shards", [{"file": "shard-00000.arrow", "documents": -1, "bytes": 1, "checksum": ""}]),
        ("counts", None),
        ("counts", [{"source": 3}]),
        ("counts", [{"source": "a", "faults": [3]}]),
        ("counts", [{"source": "a", "unknown": 3}]),
        ("counts", []),
    ],
)
def test_a_manifest_with_a_right_checksum_and_wrong_types(key, value, made):
    train, _ = made()
    path = train.directory / MANIFEST
    body = {**json.loads(path.read_text()), key: value}
    del body["checksum"]
    path.write_text(json.dumps({**body, "checksum": manifest._checksum_of(body)}))
    with pytest.raises(DamagedBuild, match=MANIFEST):
        read_manifest(train.directory)
    assert len(made()[1]) >= 1
    assert made()[1] == []


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "3", '"a"', "{}", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"]
)
def test_a_manifest_that_is_none(content, made):
    train, _ = made()
    (train.directory / MANIFEST).write_text(content)
    _, said = made()
    assert f"{MANIFEST}: is damaged" in said[0]
    assert made()[1] == []


def test_shards_that_do_not_hold_what_the_manifest_says(made):
    train, _ = made()
    path = train.directory / "shard-00000.arrow"
    for content in (b"no arrow at all", b"ARROW1\0\0" * 10):
        path.write_bytes(content)
        body = json.loads((train.directory / MANIFEST).read_text())
        body["shards"][0] |= {"bytes": len(content), "checksum": xxhash.xxh3_128_hexdigest(content)}
        del body["checksum"]
        text = json.dumps({**body, "checksum": manifest._checksum_of(body)})
        (train.directory / MANIFEST).write_text(text)
        with pytest.raises(DamagedBuild, match=r"shard-00000.arrow: is damaged"):
            check(train.directory)


def test_a_build_of_the_first_version_is_made_again_with_a_line(made):
    train, _ = made()
    path = train.directory / MANIFEST
    body = json.loads(path.read_text())
    for key in ("version", "checksum", "counts"):
        del body[key]
    for shard in body["shards"]:
        del shard["checksum"]
    path.write_text(json.dumps(body))
    again, (line,) = made()
    assert "earlier version of ultra-train, without checksums" in line
    assert again.fingerprint == train.fingerprint


def test_a_build_is_checked_once_and_not_by_every_process(made, monkeypatch):
    import pickle

    train, _ = made()
    calls = []
    monkeypatch.setattr(build, "check", lambda directory: calls.append(directory) or check(directory))
    again, _ = made()
    monkeypatch.setattr(manifest, "checksum", lambda path: pytest.fail("checked again"))
    pickle.loads(pickle.dumps(again))
    assert calls == [train.directory]
