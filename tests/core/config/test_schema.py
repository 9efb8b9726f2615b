import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import attrs
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultra_core.config import collect, from_tree
from ultra_core.config.schema import DIALECT, attrs_schema, named_schema, options_schema, type_schema
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.registry import Registry

Count = Annotated[int, Range(min=1)]


@attrs.frozen
class Inner:
    """The inner section.

    More about it.
    """

    name: str
    size: Count | None = None


@attrs.frozen
class Outer:
    count: Count = attrs.field(default=4, metadata={"help": "how many"})
    flag: bool = False
    rate: Annotated[float, Range(gt=0, lt=1)] | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    mode: Literal["a", "b", 3] = "a"
    inner: Inner | None = None
    items: tuple[str | Inner, ...] = ()
    table: dict[str, list[Count]] = attrs.Factory(dict)
    maker: str | Callable[[int], int] = "x"
    free: Any = None
    plugin: Any = attrs.field(default="x", metadata={"schema": {"enum": ["x", "y"]}})
    hidden: int = attrs.field(default=1, init=False)


def accepts(schema, value):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_a_class_becomes_an_object():
    schema = attrs_schema(Outer)
    jsonschema.Draft202012Validator.check_schema(schema)
    properties = schema["properties"]
    assert schema["additionalProperties"] is False
    assert "required" not in schema
    assert "hidden" not in properties
    assert properties["count"] == {"type": "integer", "minimum": 1, "description": "how many", "default": 4}
    assert properties["rate"]["anyOf"] == [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "null"},
    ]
    assert properties["betas"]["default"] == [0.9, 0.999]
    assert properties["maker"] == {"type": "string", "default": "x"}
    assert properties["plugin"] == {"enum": ["x", "y"], "default": "x"}
    assert properties["free"] == {"default": None}
    inner = properties["inner"]["anyOf"][0]
    assert inner["required"] == ["name"]
    assert inner["description"] == "The inner section."
    assert "description" not in attrs_schema(Inner, doc=False)


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (None, {"type": "null"}),
        (list, {"type": "array"}),
        (dict, {"type": "object"}),
        (Mapping[str, Mapping], {"type": "object", "additionalProperties": {"type": "object"}}),
        (
            dict[Literal["a", "b"], Annotated[float, Range(gt=0)]],
            {
                "type": "object",
                "propertyNames": {"enum": ["a", "b"]},
                "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
            },
        ),
        (int | bool | int, {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}),
        (str | Any, {}),
        (
            Annotated[int | None, Range(max=3)],
            {"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}]},
        ),
        (Annotated[str, Range(max=3)], {"type": "string"}),
        (Annotated[float, Range(min=0, lt=float("inf"))], {"type": "number", "minimum": 0}),
        (Callable, {}),
    ],
)
def test_types(hint, schema):
    assert type_schema(hint) == schema


words = st.sampled_from(["a", "b", "x", "name", "size", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 5) | st.sampled_from([0.25, 1.5, -0.5]) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
fields = st.sampled_from([f.name for f in attrs.fields(Outer) if f.init and f.name != "plugin"] + ["unknown"])


@given(st.dictionaries(fields, values, min_size=1, max_size=3))
def test_the_schema_accepts_what_the_loader_accepts(tree):
    loaded, _ = collect(from_tree(tree), Outer)
    assert accepts(attrs_schema(Outer), tree) == (loaded is not None)


class Block:
    """A block.

    Args:
        num_heads: how many heads.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 8,
        mode: Literal["a", "b"] = "a",
        linear: Callable[[int], Any] = print,
    ) -> None: ...


def test_options_of_a_plugin():
    schema = options_schema(Block)
    assert schema == {
        "type": "object",
        "properties": {
            "num_heads": {"type": "integer", "minimum": 1, "description": "how many heads.", "default": 8},
            "mode": {"enum": ["a", "b"], "default": "a"},
        },
        "additionalProperties": False,
    }


def test_a_name_or_a_name_with_options():
    registry = Registry("ultra.nothing", "block")
    registry.add("good", Block)
    registry.add("broken", "no_such_module:Block")
    schema = named_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    for value in ("good", "broken", "local:good", {"good": {"num_heads": 2}}, {"good": None},
                  {"broken": {"any": 1}}, {"local:good": {}}):  # fmt: skip
        assert accepts(schema, value), value
    for value in ("goood", 3, None, [], {}, {"good": {"num_heads": 0}}, {"good": {"heads": 1}}, {"bad": {}},
                  {"good": {}, "broken": {}}, {"good": 3}):  # fmt: skip
        assert not accepts(schema, value), value


@pytest.mark.parametrize("kind", ["blocks", "norms", "ffns", "positions", "optimizers", "schedules"])
def test_every_installed_plugin_has_a_schema(kind):
    schema = {"$schema": DIALECT, **named_schema(KINDS[kind])}
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    for name in KINDS[kind].names():
        options = options_schema(KINDS[kind].get(name))
        defaults = {k: s["default"] for k, s in options["properties"].items() if "default" in s}
        assert accepts(options, defaults), name
        assert accepts(schema, {name: defaults}), name
