"""Values to try are legal, differ from the base value, and are compared as choices or as numbers."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pytest

from ultra_core.contracts import Range
from ultra_core.testing.variations import Variation, indistinct, variations


def plugin(
    *,
    eps: Annotated[float, Range(gt=0)] = 1e-6,
    rate: Annotated[float, Range(min=0, lt=1)] = 0.5,
    window: int | None = None,
    heads: Annotated[int, Range(min=1)] = 2,
    bias: bool = False,
    form: Literal["sum", "mean", "max"] = "sum",
    betas: tuple[Annotated[float, Range(min=0, lt=1)], float | None] = (0.9, None),
    widths: tuple[int, ...] = (4, 2),
    spec: str | Mapping[str, Any] = "nope",
    model: Mapping[str, Any] | None = None,
    factory: type = dict,
) -> None:
    if form == "max" or heads % 2:
        raise ValueError("refused")


def values(option: str, tried: list[Variation] | None = None) -> list[Any]:
    found = variations(plugin, {}, lambda arguments: plugin(**arguments)) if tried is None else tried
    return [variation.value for variation in found if variation.option == option and not variation.refusal]


@pytest.mark.parametrize(
    ("option", "tried"),
    [
        ("eps", [0.5, 0.25]),
        ("rate", [0.6, 0.25]),
        ("rate = 0", [0.0]),
        ("window", [3, 5]),
        ("heads", [4]),
        ("bias", [True]),
        ("form", ["mean"]),
        ("betas[0]", [(0.5, None), (0.25, None)]),
        ("betas[0] = 0", [(0.0, None)]),
        ("betas[1]", [(0.9, 0.5), (0.9, 0.25)]),
        ("widths", [[3, 2], [8, 2]]),
        ("spec", []),
        ("model", []),
        ("factory", []),
    ],
)
def test_values_are_legal_and_accepted(option: str, tried: list[Any]) -> None:
    assert values(option) == tried


def test_what_cannot_be_guessed_is_reported_unless_the_caller_supplies_it() -> None:
    refused = {v.option: v.refusal for v in variations(plugin, {}, lambda a: plugin(**a)) if v.refusal}
    assert refused == {"spec": "no value can be guessed from its type"}


def test_the_last_refusal_of_a_number_is_reported() -> None:
    def even(*, heads: Annotated[int, Range(min=1, max=2)] = 2) -> None:
        if heads % 2:
            raise ValueError(f"odd {heads}")

    (refused,) = variations(even, {}, lambda arguments: even(**arguments))
    assert refused.refusal == "heads=1 raises ValueError: odd 1"


def test_guesses_and_skipped_options_are_those_of_the_caller() -> None:
    found = variations(plugin, {}, guesses={"spec": ["rope", "alibi"]}, skip=["eps"])
    assert values("spec", found) == ["rope", "alibi"]
    assert values("eps", found) == []


def test_options_of_the_case_are_the_base() -> None:
    found = variations(plugin, {"bias": True, "heads": 8})
    assert values("bias", found) == [False]
    assert values("heads", found) == [3, 16]


def test_a_class_declares_values_and_contexts() -> None:
    class Declares:
        variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
            "path": {"path": "here"},
            "nesterov": {"momentum": 0.9},
            "momentum": {"momentum": 0.8, "nesterov": True},
        }

        def __init__(self, *, path: str = "", momentum: float = 0.0, nesterov: bool = False) -> None: ...

    path, momentum, nesterov = variations(Declares, {})
    assert path.arguments == {"path": "here"}
    assert (momentum.arguments, momentum.context) == ({"momentum": 0.8, "nesterov": True}, {"nesterov": True})
    assert str(nesterov) == "momentum=0.9, nesterov=True"
    assert nesterov.choice


def test_a_class_may_declare_several_values() -> None:
    class Declares:
        variations: ClassVar[Mapping[str, Any]] = {"path": [{"path": "here"}, {"path": "there"}]}

        def __init__(self, *, path: str = "") -> None: ...

    here, there = variations(Declares, {})
    assert (here.value, there.value) == ("here", "there")
    assert here.choice


def outcomes(*values: Any, choice: bool, base: Any = "a", equal: Mapping[Any, Any] | None = None) -> str:
    """Return the complaint about an option whose value is its outcome, except for those in ``equal``."""
    alias = equal or {}
    tried = [
        (Variation("form", "form", {"form": value}, base=base, choice=choice), alias.get(value, value))
        for value in values
    ]
    return indistinct(tried, lambda context: alias.get(base, base), lambda x, y: x == y)


def test_every_choice_must_differ_from_every_other() -> None:
    assert outcomes("b", "c", choice=True) == ""
    assert outcomes("b", "c", choice=True, equal={"c": "b"}) == "form='b' and form='c'"
    assert outcomes("b", "c", choice=True, equal={"c": "a"}) == "form='c' and form='a'"


def test_a_default_of_none_may_stand_for_a_choice() -> None:
    assert outcomes(True, False, choice=True, base=None, equal={None: True}) == ""
    assert outcomes(True, choice=True, base=None, equal={None: True}) == "form=True and form=None"


def test_one_number_must_act() -> None:
    assert outcomes(1, 3, choice=False, base=2, equal={3: 2}) == ""
    assert outcomes(1, 3, choice=False, base=2, equal={3: 2, 1: 2}) == "form=1, form=3 and form=2"
