from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pytest

from ultra_core.contracts import FromModel, Range
from ultra_core.errors import PluginError
from ultra_core.plugins.signatures import bind, check_options, read_options, require


class Base:
    def __init__(self, *args, **kwargs): ...


class Block(Base):
    """A block."""

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("retention_heads"), Range(min=1)] = 8,
        mode: Literal["a", "b"] = "a",
        rate: Annotated[float, Range(min=0, lt=1)] | None = None,
        positions: Annotated[str | Mapping[str, Mapping] | Callable, FromModel("positions")] = "rope",
        linear: Annotated[Callable[[int, int, bool], Any], FromModel("linear")] = print,
        causal: bool = False,
        untyped=3,
    ) -> None: ...


class Bare(Base):
    """Takes nothing."""


def schedule(total_steps: int, *, warmup: Annotated[int, Range(min=0)] = 0) -> Callable[[int], float]:
    return lambda step: 1.0


def test_the_signature_is_read():
    options = read_options(Block)
    assert list(options) == [
        "hidden_size", "num_heads", "mode", "rate", "positions", "linear", "causal", "untyped",
    ]  # fmt: skip
    heads = options["num_heads"]
    assert (heads.type, heads.default, heads.range, heads.from_model) == (
        int,
        8,
        Range(min=1),
        "retention_heads",
    )
    settable = [name for name, option in options.items() if option.settable]
    assert settable == ["num_heads", "mode", "rate", "positions"]
    assert options["hidden_size"].required
    assert not heads.required


def test_factories_and_bare_classes():
    assert list(read_options(schedule)) == ["total_steps", "warmup"]
    assert read_options(Bare) == {}
    assert read_options(type("Plain", (), {})) == {}


def test_a_signature_that_hides_options_is_an_error():
    class Sink:
        def __init__(self, *, size: int = 1, **kwargs: int) -> None: ...

    class Misspelt:
        def __init__(self, *, size: "Itn" = 1) -> None: ...  # noqa: F821

    with pytest.raises(PluginError, match=r"\*\*kwargs hides the options"):
        read_options(Sink)
    with pytest.raises(PluginError, match=r"Misspelt.*cannot be read.*Itn"):
        read_options(Misspelt)
    with pytest.raises(PluginError, match="cannot be read"):
        read_options(3)


def test_all_faults_of_options_come_together():
    given = {"num_head": 2, "num_heads": 0, "mode": "c", "rate": 1.0, "hidden_size": 3, "positions": None}
    faults = check_options("block", Block, given)
    assert set(faults) == set(given)
    assert "Did you mean 'num_heads'?" in faults["num_head"]
    assert faults["num_heads"] == "block: num_heads is 0; expected a number >= 1"
    assert "one of 'a', 'b'" in faults["mode"]
    assert faults["rate"].endswith("expected a number >= 0 and < 1 or null")
    assert "no option 'hidden_size'" in faults["hidden_size"]
    good = {"num_heads": 2, "mode": "b", "rate": None, "positions": {"rope": {"base": 5.0}}}
    assert check_options("block", Block, good) == {}


def test_bind_prefers_options_to_the_model_and_the_model_to_the_default():
    supplied = {"hidden_size": 64, "causal": True, "place": "mixer"}
    model = {"retention_heads": 4, "num_heads": 12, "positions": None}
    assert bind(Block, {}, supplied=supplied, model=model) == {
        "hidden_size": 64,
        "causal": True,
        "num_heads": 4,
    }
    bound = bind(Block, {"num_heads": 2, "extra": 1}, supplied=supplied, model=model, optional=["extra"])
    assert bound["num_heads"] == 2
    assert "extra" not in bound
    with pytest.raises(PluginError, match=r"Block has no option 'num_head'\. Did you mean 'num_heads'"):
        bind(Block, {"num_head": 2}, supplied=supplied, model=model)


class Chunked:
    def __init__(
        self,
        *,
        chunk_size: Annotated[int, Range(min=1)] = 4,
        form: Literal["sum", "concat"] = "sum",
        eps: Annotated[float, Range(gt=0)] | None = None,
    ) -> None:
        require(Chunked, chunk_size=chunk_size, form=form, eps=eps)


def test_a_constructor_requires_what_its_signature_declares():
    Chunked(chunk_size=1, form="concat", eps=1)
    with pytest.raises(ValueError, match=r"Chunked: chunk_size is 0; .*; Chunked: form is 'max'; .*'concat'"):
        Chunked(chunk_size=0, form="max")
    with pytest.raises(ValueError, match=r"Chunked: eps is 0\.0"):
        Chunked(eps=0.0)


def test_a_base_class_requires_for_classes_that_lack_some_options():
    require(Chunked, width=-1)
    with pytest.raises(ValueError, match="chunk_size is 0"):
        require(Chunked, width=-1, chunk_size=0)


def test_a_signature_is_read_once_and_nobody_changes_what_others_get():
    class Plugin:
        def __init__(self, *, size: int = 1) -> None: ...

    first = read_options(Plugin)
    second = read_options(Plugin)
    assert first["size"] is second["size"]
    first.clear()
    assert list(read_options(Plugin)) == ["size"]
