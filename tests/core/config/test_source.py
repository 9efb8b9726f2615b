from ultra_core.config import parse_source


def position(source, path, *, key=False):
    fault = source.fault(path, "is wrong", key=key)
    return fault.line, fault.column


def test_positions_of_keys_and_values():
    source = parse_source(
        "# comment\na:\n  b: [1, {c: x}]\n  'long key': |\n    text\nd: &m\n  e: 1\nf: *m\n"
    )
    assert source.tree == {"a": {"b": [1, {"c": "x"}], "long key": "text\n"}, "d": {"e": 1}, "f": {"e": 1}}
    assert position(source, ("a",)) == (3, 3)
    assert position(source, ("a",), key=True) == (2, 1)
    assert position(source, ("a", "b", 1, "c")) == (3, 14)
    assert position(source, ("a", "b", 1, "c"), key=True) == (3, 11)
    assert position(source, ("a", "long key"), key=True) == (4, 3)
    assert position(source, ("f", "e")) == (7, 6)
    assert position(source, ()) == (1, 1)


def test_what_is_missing_stands_where_the_nearest_key_above_it_does():
    source = parse_source("x: 1\na:\n  b:\n    c: 1\n")
    assert position(source, ("nothing",)) == (1, 1)
    assert position(source, ("a", "nothing")) == (2, 1)
    assert position(source, ("a", "b", "nothing", "deeper", 3)) == (3, 3)
    assert position(source, ("x", "inside a scalar")) == (1, 1)
    fault = source.fault(("a", "b", "c"), "is wrong")
    assert str(fault) == "<text>:4:8: a.b.c: is wrong"


def test_a_value_that_is_not_there_stands_behind_its_key():
    source = parse_source("a:\n  b:\n\nc:\n  -\n  - 1\n")
    assert source.tree == {"a": {"b": None}, "c": [None, 1]}
    assert position(source, ("a", "b")) == (2, 4)
    assert position(source, ("c", 0))[0] <= 5


def test_values_by_path():
    source = parse_source("a: {b: [1, null]}")
    assert source.get(("a", "b", 0)) == 1
    assert source.get(("a", "b", 1), "default") is None
    for absent in (("a", "c"), ("a", "b", 2), ("a", "b", -1), ("a", "b", "0"), ("a", 0), ("x",)):
        assert source.get(absent, "default") == "default"
    source.tree["a"] = 3
    assert source.get(("a",)) == {"b": [1, None]}
