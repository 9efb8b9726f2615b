import attrs
import pytest

from ultra_core.config.strict import Problem, found, make_converter, problems


@attrs.frozen
class Section:
    size: int
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing (null)"),
        (True, "true"),
        (3, "3"),
        ("x", "the string 'x'"),
        ({}, "an empty mapping"),
        ([], "an empty list"),
        ({"a": 1}, "a mapping of 1"),
        ("x" * 99, "the string '" + "x" * 56 + "..."),
    ],
)
def test_what_was_found_in_words(value, words):
    assert found(value) == words


def test_every_problem_has_its_path():
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        make_converter().structure({"names": ["a", 1], "sise": 2}, Section)
    assert set(problems(caught.value)) == {
        Problem(("size",), "this key is required and is missing"),
        Problem(("names", 1), "expected a string, found 1"),
        Problem(("sise",), "unknown key. Did you mean 'size'?", blames_key=True),
    }


def test_an_error_that_blames_no_value_is_not_hidden():
    with pytest.raises(RuntimeError):
        list(problems(RuntimeError("a bug")))


def test_a_validator_that_looks_into_a_mapping_blames_its_section():
    @attrs.frozen
    class Picky:
        name: str = attrs.field(validator=attrs.validators.in_({"a": 1}))

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        make_converter().structure({"name": "b"}, Picky)
    (problem,) = problems(caught.value)
    assert "'name' must be in" in problem.message


def test_of_thousands_of_wrong_items_the_first_are_listed():
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        make_converter().structure({"size": 1, "names": [3] * 5000}, Section)
    found = list(problems(caught.value))
    assert len(found) == 201
    assert found[-1] == Problem(("names",), "5,000 items are invalid; the first 200 are listed")


def test_among_thousands_of_unknown_keys_none_is_compared():
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        make_converter().structure({"size": 1, **{f"size{i}": 1 for i in range(5000)}}, Section)
    found = list(problems(caught.value))
    assert len(found) == 5000
    assert {problem.message for problem in found} == {"unknown key. The keys here: size, names"}
