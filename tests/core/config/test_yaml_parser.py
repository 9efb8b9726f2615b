import pytest

from ultra_core.config import load_source, parse_source
from ultra_core.config.yaml_parser import MAX_DEPTH
from ultra_core.errors import ConfigError

FATAL = [
    ("", 1, 1, "is empty"),
    ("# nothing but a comment\n", 1, 1, "is empty"),
    ("---\n", 1, 1, "is empty"),
    ("null\n", 1, 1, "is empty"),
    ("- a\n- b\n", 1, 1, "found a list of 2"),
    ("\n\n  just text\n", 3, 3, "found the string 'just text'"),
    ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
    ("a: 1\nb: [1, 2\nc: 3\n", 3, 2, "not valid YAML"),
    ("a: 1\n\tb: 2\n", 2, 1, "\\t"),
    ("a: b: c\n", 1, 5, "not valid YAML"),
    ("a: 'open\n", 2, 1, "not valid YAML"),
    ("a: *nowhere\n", 1, 4, "no anchor"),
    ("a: &x [1, *x]\n", 1, 11, "inside its own anchor"),
    ("a: &x {b: *x}\n", 1, 11, "inside its own anchor"),
    ("? [a, b]\n: 1\n", 1, 3, "key must be a string"),
    ("? {a: b}\n: 1\n", 1, 3, "key must be a string"),
    ("x: &k name\n*k : 1\n", 2, 1, "key must be a string"),
    ("a: 1\nb: \x00\n", 2, 4, "U+0000"),
    ("a: \x1b[0m\n", 1, 4, "U+001B"),
    (b"a: caf\xe9\n", 1, 7, "0xe9 is not UTF-8"),
    (b"\xff\xfea\x00:\x00", 1, 1, "not UTF-8"),
    (b"\x89PNG\r\n\x1a\n\x00\x00", 1, 1, "not UTF-8"),
    (b"\x7fELF\x02\x01", 1, 1, "U+007F"),
    ("a: " + "[" * 5000, 1, None, "deeper"),
    ("a: " + "{b: " * 5000, 1, None, "deeper"),
    ("- " * 5000, 1, None, "deeper"),
    ("".join(" " * i + "a:\n" for i in range(300)), MAX_DEPTH + 1, None, "deeper"),
    ("%YAML x\n---\na: 1\n", 1, None, "not valid YAML"),
    ("a: !<unclosed 1\n", 1, None, "not valid YAML"),
    ('a: "\\U99999999"\n', 1, None, None),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), FATAL)
def test_what_cannot_be_read_is_one_error_with_a_position(text, line, column, message):
    with pytest.raises(ConfigError) as caught:
        parse_source(text, file="p.yaml")
    fault = caught.value.faults[0]
    assert fault.file == "p.yaml"
    assert fault.line == line
    assert column is None or fault.column == column
    assert message is None or message in fault.message


KEPT = [
    ('a: "\\uD800"\n', [(1, 4, ("a",), "U+D800")]),
    ('a: "x\\0"\n', [(1, 4, ("a",), "U+0000")]),
    ('"a\\0": 1\n', [(1, 1, ("a?",), "not allowed")]),
    ("a: 1\nb: 2\na: 3\n", [(3, 1, ("a",), "duplicate key; it is first used in line 1")]),
    ("s:\n  a: 1\n  a: 2\n  a: 3\n", [(3, 3, ("s", "a"), "duplicate"), (4, 3, ("s", "a"), "duplicate")]),
    ("a: !!str 1\n", [(1, 4, ("a",), "tag")]),
    ("a: !custom {b: 1}\n", [(1, 4, ("a",), "tag !custom")]),
    ("a: !!python/object/apply:os.system ['true']\n", [(1, 4, ("a",), "tag")]),
    ("!!str a: 1\n", [(1, 1, ("a",), "tag")]),
    ("a: &x {b: 1}\nc:\n  <<: *x\n", [(3, 3, ("c", "<<"), "merge keys")]),
    ("1: a\n", [(1, 1, ("1",), "must be a string; put 1 in quotes")]),
    ("a:\n- true: a\n- null: b\n", [(2, 3, ("a", 0, "true"), "quotes"), (3, 3, ("a", 1, "null"), "quotes")]),
    ("1e999: a\n", [(1, 1, ("1e999",), "quotes")]),
    (": a\n", [(1, 1, ("",), "quotes")]),
    ("%TAG ! tag:example.org,2000:\n---\na: 1\n", [(2, 1, (), "directives")]),
    ("a: [1, .inf, {b: .nan}]\n", [(1, 8, ("a", 1), "finite"), (1, 18, ("a", 2, "b"), "finite")]),
]


@pytest.mark.parametrize(("text", "expected"), KEPT)
def test_what_leaves_the_rest_readable_is_kept_for_the_report(text, expected):
    faults = parse_source(text).faults
    assert [(f.line, f.column, f.path) for f in faults] == [e[:3] for e in expected]
    for fault, (*_, message) in zip(faults, expected, strict=True):
        assert message in fault.message


def test_aliases_cannot_blow_up():
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    with pytest.raises(ConfigError, match="more than 100000 values") as caught:
        parse_source(text)
    assert caught.value.faults[0].line > 1
    deep = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    with pytest.raises(ConfigError, match="deeper"):
        parse_source(deep)


def test_quoted_keys_line_ends_and_byte_order_marks():
    assert parse_source(b'\xef\xbb\xbf"1": \'a\'\r\nb: "\\u00e1"\r\n').tree == {"1": "a", "b": "á"}
    assert parse_source("a: ñandú 🦤").tree == {"a": "ñandú 🦤"}


def test_files(tmp_path):
    good = tmp_path / "good.yaml"
    good.write_text("lr: 1e-6\n")
    assert load_source(good).tree == {"lr": 1e-6}
    assert load_source(str(good)).file == str(good)
    longest = tmp_path / "longest.yaml"
    longest.write_bytes(b"a: 1\n" + b"#" * 999_995)
    assert load_source(longest).tree == {"a": 1}
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * 1_000_001)
    for path, message in [
        (tmp_path / "absent.yaml", "no such file"),
        (tmp_path, "is a folder"),
        (good / "below", "cannot be read"),
        ("nul\0name", "cannot be read"),
        (tmp_path / ("x" * 5000), "cannot be read"),
        (huge, "larger than 1000000 bytes"),
    ]:
        with pytest.raises(ConfigError, match=message) as caught:
            load_source(path)
        (fault,) = caught.value.faults
        assert (fault.file, fault.line, fault.column) == (str(path), 1, 1)
