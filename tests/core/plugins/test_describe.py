from typing import Annotated

import pytest

from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.describe import as_yaml, describe, docstring_sections, items


class Block:
    """Mixes tokens
    in one pass.

    ``y = W x`` for every token.

    Args:
        hidden_size: width D.
        num_heads: heads H; D must be
            a multiple: always.
        rate (float): of forgetting.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``.

    Cost: O(T), no state
        at all.
    Reference: Somebody 2023,
    https://example.org.
    Differs from the paper: nothing.

    Afterword.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 8,
        rate: float = 0.5,
        name: str | None = None,
    ) -> None: ...


def factory(total: int):
    """Make one."""


def test_a_plugin_in_words():
    described = describe(Block)
    assert described.summary == "Mixes tokens in one pass."
    assert described.body == "``y = W x`` for every token.\n\nAfterword."
    assert described.cost == "O(T), no state\nat all."
    assert described.reference == "Somebody 2023,\nhttps://example.org."
    assert described.differs == "nothing."
    assert described.sections["Shapes"] == "x ``(B, T, D)`` -> ``(B, T, D)``."
    assert "Args" not in described.sections


def test_the_table_of_options():
    width, heads, rate, name = describe(Block).options
    assert (width.settable, width.type, width.default, width.doc) == (False, "", "", "width D.")
    assert (heads.name, heads.type, heads.default) == ("num_heads", "a whole number >= 1", "8")
    assert heads.from_model == "num_heads"
    assert heads.doc == "heads H; D must be a multiple: always."
    assert rate.doc == "of forgetting."
    assert (name.type, name.default, name.doc) == ("a string or null", "null", "")


def test_options_documented_at_the_constructor():
    class Late:
        """Late."""

        def __init__(self, size: int = 1) -> None:
            """Make it.

            Args:
                size: of it.
            """

    assert describe(Late).options[0].doc == "of it."


def test_what_has_little_to_say():
    described = describe(factory)
    assert (described.summary, described.cost, described.reference, described.differs) == (
        "Make one.",
        "",
        "",
        "",
    )
    assert described.options[0].default == ""
    assert docstring_sections("") == ("", {})
    assert items("") == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-6, "1e-06"),
        ("x", "x"),
        ("", "''"),
        ((1, 2), "[1, 2]"),
        (len, repr(len)),
    ],
)
def test_defaults_as_yaml_writes_them(value, text):
    assert as_yaml(value) == text
