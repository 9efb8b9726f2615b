"""Other names of keys, and choices in any case, by their declarations in a class."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
import pytest
from jsonschema import Draft202012Validator

from ultra_core.config import from_tree, parse_source, structure
from ultra_core.config.key_names import canonical_names
from ultra_core.config.schema import attrs_schema
from ultra_core.contracts import Range
from ultra_core.errors import ConfigError

ANY_CASE = {"any_case": True}


@attrs.frozen
class Inner:
    size: Annotated[int, Range(min=1)] = attrs.field(default=1, metadata={"aliases": ("width", "breadth")})


@attrs.frozen
class Outer:
    inner: Inner | None = None
    items: tuple[str | Inner, ...] = ()
    named: dict[str, Inner | Literal["round_robin"]] = attrs.field(factory=dict, metadata=ANY_CASE)
    how: Literal["no_duplicates", "group-by"] | None = attrs.field(default=None, metadata=ANY_CASE)
    strict: Literal["a", "b"] = "a"


TEXT = """\
inner: {width: 3}
items: [x, {breadth: 4}]
named: {one: {width: 5}, two: ROUND_ROBIN}
how: Samplers.GROUP_BY
"""


def test_keys_and_choices_everywhere():
    source = parse_source(TEXT)
    before = source.tree
    made, rewritten = canonical_names(source, Outer)
    found = structure(made, Outer)
    assert found == Outer(
        inner=Inner(3), items=("x", Inner(4)), named={"one": Inner(5), "two": "round_robin"}, how="group-by"
    )
    assert rewritten == [
        (("inner", "width"), "size"),
        (("items", 1, "breadth"), "size"),
        (("named", "one", "width"), "size"),
        (("named", "two"), "round_robin"),
        (("how",), "group-by"),
    ]
    assert source.tree == before


def test_types_that_yaml_cannot_write_are_passed_over():
    @attrs.frozen
    class Callback:
        call: str | Callable[[int], int] = "none"
        pair: tuple[Inner, int] | None = None

    made, rewritten = canonical_names(parse_source("call: x\npair: [{width: 2}, 3]\n"), Callback)
    assert structure(made, Callback) == Callback("x", (Inner(2), 3))
    assert rewritten == [(("pair", 0, "width"), "size")]


def test_positions_are_those_of_the_file():
    made, _ = canonical_names(parse_source("inner:\n  width: 0\n"), Outer)
    with pytest.raises(ConfigError, match=r"<text>:2:10: inner.size: expected a number >= 1"):
        structure(made, Outer)


def test_a_key_by_two_names_is_a_fault():
    made, rewritten = canonical_names(parse_source("inner: {size: 1, width: 2}"), Outer)
    assert rewritten == []
    with pytest.raises(ConfigError, match=r"inner\.width: says the same as inner\.size; keep one of them"):
        structure(made, Outer)


@pytest.mark.parametrize(
    "text", ["strict: A", "how: dup", "how: 3", "inner: 3", "items: {a: 1}", "named: [1]"]
)
def test_everything_else_stays_as_it_is(text: str):
    source = parse_source(text)
    made, rewritten = canonical_names(source, Outer)
    assert (made.tree, rewritten) == (source.tree, [])
    with pytest.raises(ConfigError):
        structure(made, Outer)


def test_the_schema_knows_both():
    schema: Any = attrs_schema(Outer)["properties"]
    how = schema["how"]
    for text in ("no_duplicates", "NO_DUPLICATES", "No-Duplicates", "group-by", "Samplers.GROUP_BY"):
        assert list(Draft202012Validator(how).iter_errors(text)) == []
        assert structure(canonical_names(from_tree({"how": text}), Outer)[0], Outer).how is not None
    for text in ("groupby", "samplers.group_by", "A.B.group_by", "x group-by", "Samplers."):
        assert list(Draft202012Validator(how).iter_errors(text)) != []
        with pytest.raises(ConfigError):
            structure(canonical_names(from_tree({"how": text}), Outer)[0], Outer)
    assert schema["strict"]["enum"] == ["a", "b"]
    inner = attrs_schema(Inner)["properties"]
    assert inner["width"] == {"type": "integer", "minimum": 1, "description": "another name of size"}
    assert list(Draft202012Validator(schema["named"]).iter_errors({"a": "ROUND_ROBIN"})) == []


@pytest.mark.parametrize(
    ("override", "size"),
    [("inner.size=7", 7), ("inner.width=7", 7), ("inner.breadth=7", 7), ("inner.size=", None)],
)
def test_an_override_displaces_the_other_names(override: str, size: int | None):
    made, _ = canonical_names(parse_source("inner: {width: 3}\n", [override]), Outer)
    assert made.tree == {"inner": {"size": size}}
    own, _ = canonical_names(parse_source("inner: {size: 3}\n", [override]), Outer)
    assert own.tree == made.tree
